package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/checkpoint"
	"github.com/hishamos/hishamos/internal/eventstore"
)

// anchoredDrill is an installation whose checkpoints go to a file outside.
func anchoredDrill(t *testing.T, set ...string) (*drill, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outside.checkpoints")
	return newDrill(t, append(set, "HISHAMOS_ANCHORS=file:"+path+"?outside", "HISHAMOS_CHECKPOINT_EVERY=5")...), path
}

func (p *process) now() {
	p.t.Helper()
	p.must(p.operation(nil, func(o *operation, ctx context.Context) error { return o.checkpointNow(ctx) }))
}

// check verifies, and returns the answer and the error.
func (p *process) check(what verification) (v verified, err error) {
	p.t.Helper()
	err = p.operation(&v, func(o *operation, ctx context.Context) error { return o.verify(ctx, what) })
	return v, err
}

// rewrite does what the owner of the database can: change an event, or leave it
// out, and compute every position and hash behind it anew, with the tables that
// are kept beside the events.
func (p *process) rewrite(from domain.Position, change func(r *events.Record) (keep bool)) {
	p.t.Helper()
	ctx := p.t.Context()
	records, err := p.store.ReadAll(ctx, from-1, 10_000)
	p.must(err)
	at := events.Mark{Position: from - 1}
	if from > 1 {
		before, err := p.store.ReadAll(ctx, from-2, 1)
		p.must(err)
		at.Hash = before[0].Hash
	}
	p.must(pgx.BeginFunc(ctx, p.owner(), func(tx pgx.Tx) error {
		for i, r := range records {
			old := r.Position
			if i == 0 && !change(&r) {
				if _, err := tx.Exec(ctx, `delete from events where position = $1`, old); err != nil {
					return err
				}
				continue
			}
			r.Position = at.Position + 1
			r.Seal(at.Hash)
			at = events.Mark{Position: r.Position, Hash: r.Hash}
			_, err := tx.Exec(ctx, `update events set position = $2, data = $3, recorded = $4, prevhash = $5, hash = $6 where position = $1`,
				old, r.Position, r.Data, r.Recorded, r.PrevHash[:], r.Hash[:])
			if err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `update log set position = $1, hash = $2`, at.Position, at.Hash[:])
		return err
	}))
}

func TestVerifyTellsAnOwnerWhoRewritesTheLogFromTheAnchor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tamper        func(p *process)
		after, before domain.Position
	}{
		"an event changed, all sealed anew": {func(p *process) {
			p.rewrite(13, func(r *events.Record) bool { r.Data = append(r.Data, ' '); return true })
		}, 10, 15},
		"the whole chain": {func(p *process) {
			p.rewrite(1, func(r *events.Record) bool { r.Data = append(r.Data, ' '); return true })
		}, 0, 5},
		"the last event": {func(p *process) {
			p.rewrite(p.position(), func(r *events.Record) bool { r.Data = append(r.Data, ' '); return true })
		}, 20, 24},
		"the tail cut": {func(p *process) {
			ctx := p.t.Context()
			var cut int // behind a whole append
			p.must(p.owner().QueryRow(ctx, `select max(last) from commands where last between 15 and 19`).Scan(&cut))
			for _, sql := range []string{
				`delete from events where position > %d`, `delete from commands where last > %d`, `delete from stream_heads`,
				`insert into stream_heads select stream, split_part(stream, '/', 2), max(sequence), true from events group by stream`,
				`update log set position = %[1]d, hash = (select hash from events where position = %[1]d)`,
			} {
				if strings.Contains(sql, "%") {
					sql = fmt.Sprintf(sql, cut)
				}
				_, err := p.owner().Exec(ctx, sql)
				p.must(err)
			}
		}, 15, 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := anchoredDrill(t)
			p := d.open()
			p.fill(4)
			for p.position() < 24 {
				p.do(startDrill(drillRun()))
			}
			if p.position() != 24 {
				t.Fatalf("the log has %d events; the checkpoints below are for 24", p.position())
			}
			p.now()
			v, err := p.check(verification{full: true})
			if err != nil || !strings.HasPrefix(v.Anchors, "anchored up to position 24 by 5 checkpoints of file:") {
				t.Fatalf("as it was: %+v, %v", v, err)
			}
			c.tamper(p)
			for _, what := range []verification{{}, {full: true}} {
				v, err = p.check(what)
				if err == nil || v.OK || v.Wrong != c.after+1 || v.WrongUpTo != c.before {
					t.Errorf("full %v: %+v, %v; want %d to %d", what.full, v, err, c.after+1, c.before)
				}
			}

			// The same without the anchor, and without the copies in the database.
			_, err = p.owner().Exec(t.Context(), `delete from checkpoints`)
			p.must(err)
			p.cfg.Anchors = nil
			if v, err := p.check(verification{full: true}); err != nil || v.Anchors != selfAnchored {
				t.Errorf("self-anchored: %+v, %v", v, err)
			}
		})
	}
}

// columns are those of events, with a way to change one bit of each.
var columns = map[string]string{
	"log_id": `overlay(log_id::text placing to_hex(((('x' || left(log_id::text, 1))::bit(4) # b'0001')::int)) from 1 for 1)::uuid`,
	"stream": `stream || 'x'`, "tenant": `tenant || 'x'`, "type": `type || 'x'`, "correlation": `correlation || 'x'`, "causation": `causation || 'x'`,
	"command": `command || 'x'`, "claims": `claims || ' '`, "actor": `actor || ' '`, "decidedby": `decidedby || ' '`, "forkedfrom": `forkedfrom || 'x'`,
	"traceparent": `traceparent || '0'`, "keyids": `keyids || ' '`,
	"generation": `generation # 4`, "sequence": `sequence # 64`, "version": `version # 2`, "index": `index # 1`, "count": `count # 8`, "position": `position + 1000`,
	"time": `time + interval '1 microsecond'`, "recorded": `recorded - interval '1 microsecond'`,
	"data":     `set_bit(data, %[1]d %% (8 * length(data)), 1 - get_bit(data, %[1]d %% (8 * length(data))))`,
	"prevhash": `set_bit(prevhash, %[1]d, 1 - get_bit(prevhash, %[1]d))`, "hash": `set_bit(hash, %[1]d, 1 - get_bit(hash, %[1]d))`,
}

func TestVerifyFindsAFlippedBitOfEveryStoredColumn(t *testing.T) {
	t.Parallel()
	d, _ := anchoredDrill(t)
	p := d.open()
	p.fill(4)
	p.now()
	var stored int
	p.must(p.owner().QueryRow(t.Context(), `select count(*) from information_schema.columns where table_name = 'events'`).Scan(&stored))
	if stored != len(columns) {
		t.Fatalf("the table events has %d columns, this test knows %d", stored, len(columns))
	}
	rng := rand.New(rand.NewPCG(5, 6))
	further := map[string]string{"hash, made longer": `hash = hash || '\x00'`, "prevhash, made longer": `prevhash = prevhash || '\x00'`}
	for column, change := range columns {
		if strings.Contains(change, "%[1]d") {
			change = fmt.Sprintf(change, rng.IntN(256))
		}
		further[column] = column + " = " + change
	}
	for name, set := range further {
		for range 2 {
			at := domain.Position(1 + rng.IntN(int(p.position())))
			_, err := p.owner().Exec(t.Context(), `create table kept as select * from events where position = $1`, at)
			if err != nil { // a parameter is not allowed there
				_, err = p.owner().Exec(t.Context(), fmt.Sprintf(`create table kept as select * from events where position = %d`, at))
			}
			p.must(err)
			_, err = p.owner().Exec(t.Context(), fmt.Sprintf(`update events set %s where position = %d`, set, at))
			p.must(err)
			v, err := p.check(verification{full: true})
			named := v.Wrong == at || v.Wrong == at+1 || strings.Contains(v.Reason, fmt.Sprintf("position %d ", at))
			if name == "position" && at == p.position() { // the last one: nothing is left there
				named = v.Wrong == at+1000 || v.Wrong == at
			}
			if name == "position" {
				named = named || v.Wrong > at
			}
			if err == nil || v.OK || !named {
				t.Errorf("%s at %d: %+v, %v", name, at, v, err)
			}
			for _, sql := range []string{
				fmt.Sprintf(`delete from events where position in (%d, %d)`, at, at+1000), `insert into events select * from kept`, `drop table kept`,
			} {
				_, err := p.owner().Exec(t.Context(), sql)
				p.must(err)
			}
		}
	}
	if v, err := p.check(verification{full: true}); err != nil {
		t.Errorf("put back: %+v, %v", v, err)
	}
}

func TestCheckpointsReachTheAnchorWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	d, path := anchoredDrill(t, "HISHAMOS_CHECKPOINT_INTERVAL=100ms")
	p := d.open()
	p.must(p.connect(t.Context()))
	p.must(p.openDeliveries(t.Context()))
	p.run((*node).runCheckpoints)
	p.fill(3)
	p.eventually("the anchor has a checkpoint of the head", func() bool { return p.deliveries[0].State().Position == p.position() })
	first, err := p.keys(t.Context(), checkpoint.Origin(p.head().LogID))
	p.must(err)

	p.must(p.operation(nil, func(o *operation, ctx context.Context) error { return o.rotateKey(ctx, false) }))
	p.must(os.Rename(filepath.Dir(path), filepath.Dir(path)+".away")) // the volume is gone
	p.fill(2)
	p.eventually("the anchor is named", func() bool { return len(p.deliveries.failing()) == 1 })
	p.fill(2)
	p.must(os.Rename(filepath.Dir(path)+".away", filepath.Dir(path)))
	p.eventually("the anchor has what it missed", func() bool {
		p.deliveries.kick()
		return p.deliveries[0].State().Position == p.position() && len(p.deliveries.failing()) == 0
	})
	v, err := p.check(verification{full: true, keys: []string{first.Newest().Verifier()}})
	second, keyErr := p.keys(t.Context(), checkpoint.Origin(p.head().LogID))
	if err != nil || keyErr != nil || v.Checkpoints[1].Key != second.Newest().Verifier() || second.Newest().Verifier() == first.Newest().Verifier() {
		t.Errorf("%+v, %v, %v", v, err, keyErr)
	}
	if _, err := p.check(verification{full: true, keys: []string{second.Newest().Verifier()}}); err == nil {
		t.Error("a first checkpoint that the given key did not sign was believed")
	}
	brought := filepath.Join(t.TempDir(), "brought")
	p.must(os.Rename(path, brought))
	if v, err := p.check(verification{anchors: []string{"file:" + brought}}); err != nil || !strings.Contains(v.Anchors, brought) {
		t.Errorf("an anchor that an auditor brings: %+v, %v", v, err)
	}
	if _, err := p.check(verification{anchors: []string{"brought"}}); domain.KindOf(err) != domain.Invalid {
		t.Errorf("an anchor that is none: %v", err)
	}
}

func TestALostKeyNeedsAWordAndNewAnchors(t *testing.T) {
	t.Parallel()
	d, path := anchoredDrill(t)
	p := d.open()
	p.fill(2)
	p.now()
	p.must(os.Remove(p.keyPath()))
	p.fill(1)
	now := func() error {
		return p.operation(nil, func(o *operation, ctx context.Context) error { return o.checkpointNow(ctx) })
	}
	if err := now(); !errors.Is(err, checkpoint.ErrKey) {
		t.Fatalf("a lost key: %v", err)
	}
	p.must(p.operation(nil, func(o *operation, ctx context.Context) error { return o.rotateKey(ctx, true) }))
	if err := now(); !errors.Is(err, checkpoint.ErrKey) {
		t.Fatalf("the old anchor was gone on with: %v", err)
	}
	p.cfg.Anchors[0].Place, p.deliveries = path+".new", nil
	p.must(now())
	if v, err := p.check(verification{full: true, anchors: []string{"file:" + path}}); err != nil || strings.Count(v.Anchors, "anchored up to") != 2 {
		t.Errorf("old and new anchor: %+v, %v", v, err)
	}
}

const checkpointChecker = "../../docs/reference/check_checkpoint.py"

func TestAnOutsiderChecksACheckpointAndAProofWithoutTheServer(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	d, path := anchoredDrill(t)
	p := d.open()
	p.fill(5)
	p.now()
	dir := t.TempDir()
	exported := filepath.Join(dir, "events.jsonl")
	export := func() {
		records, err := p.store.ReadAll(t.Context(), 0, 1000)
		p.must(err)
		f, err := os.Create(exported)
		p.must(err)
		p.must(writeAll(f, records))
	}
	export()
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), python, append([]string{"-B", checkpointChecker}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run(path, exported); err != nil || !strings.Contains(out, "holds") {
		t.Fatalf("the log as it was: %v\n%s", err, out)
	}
	proofFile := filepath.Join(dir, "proof.json")
	prove := func(at domain.Position) string {
		var text strings.Builder
		p.must((&operation{node: p.node, out: &text}).prove(t.Context(), at))
		p.must(os.WriteFile(proofFile, []byte(text.String()), 0o600))
		return text.String()
	}
	key, err := p.keys(t.Context(), checkpoint.Origin(p.head().LogID))
	p.must(err)
	for _, at := range []domain.Position{1, 7, p.position()} {
		text := prove(at)
		if out, err := run("--proof", proofFile, "--key", key.Newest().Verifier()); err != nil || !strings.Contains(out, fmt.Sprintf("position %d", at)) {
			t.Fatalf("proof of %d: %v\n%s", at, err, out)
		}
		forged := strings.Replace(text, `"type": "run.`, `"type": "ran.`, 1)
		if forged == text {
			t.Fatalf("nothing to forge in %s", text)
		}
		p.must(os.WriteFile(proofFile, []byte(forged), 0o600))
		if out, err := run("--proof", proofFile); err == nil {
			t.Errorf("a forged event at %d was believed: %s", at, out)
		}
	}
	other, err := checkpoint.NewKey(checkpoint.Origin(p.head().LogID))
	p.must(err)
	prove(3)
	if out, err := run("--proof", proofFile, "--key", other.Verifier()); err == nil {
		t.Errorf("another key was believed: %s", out)
	}
	note, err := os.ReadFile(path)
	p.must(err)
	damaged := filepath.Join(dir, "damaged")
	p.must(os.WriteFile(damaged, []byte(strings.Replace(string(note), "\ntime 2", "\ntime 3", 1)), 0o600))
	if out, err := run(damaged, exported); err == nil {
		t.Errorf("a checkpoint with a signature that is not of it was believed: %s", out)
	}
	p.rewrite(8, func(r *events.Record) bool { r.Data = append(r.Data, ' '); return true })
	export()
	if out, err := run(path, exported); err == nil || !strings.Contains(out, "positions 6 to 10") {
		t.Errorf("a rewritten log: %v\n%s", err, out)
	}
}

func writeAll(f *os.File, records []events.Record) error {
	return errors.Join(eventstore.WriteLines(f, records), f.Close())
}

package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/failpoint"
)

const (
	headSQL = `select log_id::text, generation, position, hash, recorded from log where one`
	// The lock on the row of the log is the append lock. Whoever has it knows that
	// no other transaction is writing, and that one whose connection broke has ended.
	lockSQL     = headSQL + ` for no key update`
	versionsSQL = `select stream, version from stream_heads where stream = any($1::text[])`
	// What streams leaves out, the last event tells.
	commandColumns = `tenant, command, body, first, last, recorded, case when streams <> '' then streams
		else coalesce((select e.stream || '/' || e.sequence from events e where e.position = commands.last), '') end`
	commandsSQL = `select ` + commandColumns + ` from commands
		where (tenant, command) in (select * from unnest($1::text[], $2::text[]))`
	claimsSQL = `select tenant, kind, key from claims
		where (tenant, kind, key) in (select * from unnest($1::text[], $2::text[], $3::text[]))`
)

// slow carries out a batch in two round trips: lock and ask, then write and
// commit.
func (a *appender) slow(items []*item) error {
	head, known, err := a.lockAndRead(items)
	if err != nil {
		return a.failed(fmt.Errorf("lock the log: %w", err), false)
	}
	failpoint.Hit("append.locked")
	b := batch.New(head, a.opts.Clock.Now(), known)
	out, _ := decide(b, items) // every version was read
	unsure := a.anyUnsure(items)
	if b.Empty() {
		err = a.end("rollback")
	} else {
		failpoint.Hit("append.before_commit")
		err = a.writeAndCommit(b)
	}
	if noPartition(err) {
		return a.makePartition(err, b.Head.Position)
	}
	if err != nil {
		err = a.failed(fmt.Errorf("write the batch: %w", err), !b.Empty())
		if errors.As(err, new(broken)) {
			doubt(items, out)
		}
		return err
	}
	alone := head.Position == a.head.Position && head.Hash == a.head.Hash && head.Generation == a.head.Generation
	if !alone {
		a.versions.forget()
	}
	for id, v := range known.versions {
		a.versions.set(id, v)
	}
	if unsure {
		a.settled.Add(1)
	}
	a.commit(b, items, out)
	a.alone = alone // two processes that append in turn would only miss
	return nil
}

// makePartition makes the partition whose absence failed a batch, so that the
// next attempt finds it.
func (a *appender) makePartition(cause error, position domain.Position) error {
	if err := a.failed(cause, false); !errors.As(err, new(refusal)) {
		return err
	}
	if err := a.makers.need(a.ctx, int64(position)); err != nil {
		return transient{err}
	}
	return transient{fmt.Errorf("made the partition of position %d", position)}
}

func (a *appender) anyUnsure(items []*item) bool {
	for _, it := range items {
		if it.maybe != nil {
			return true
		}
	}
	return false
}

// committedState is what the tables say about all that a batch touches.
type committedState struct {
	versions map[domain.StreamID]domain.Sequence
	commands map[batch.CommandKey]batch.Done
	claims   map[batch.ClaimKey]bool
}

func (c committedState) Version(id domain.StreamID) (domain.Sequence, bool) {
	return c.versions[id], true
}

func (c committedState) Command(k batch.CommandKey) (batch.Done, bool) {
	d, ok := c.commands[k]
	return d, ok
}

func (c committedState) Claimed(k batch.ClaimKey) bool { return c.claims[k] }

// lockAndRead begins the transaction, takes the append lock and reads what the
// batch needs, in one round trip. Every statement after the lock sees all that
// was committed before it.
func (a *appender) lockAndRead(items []*item) (head eventstore.Head, known committedState, err error) {
	known = committedState{
		versions: make(map[domain.StreamID]domain.Sequence),
		commands: make(map[batch.CommandKey]batch.Done),
		claims:   make(map[batch.ClaimKey]bool),
	}
	var streams, tenants, commands, claimTenants, kinds, keys []string
	for _, it := range items {
		p := &it.append
		tenants, commands = append(tenants, string(p.Tenant)), append(commands, string(p.Command))
		for _, w := range p.Writes {
			if _, ok := known.versions[w.Stream]; !ok {
				known.versions[w.Stream] = 0
				streams = append(streams, string(w.Stream))
			}
		}
		for _, c := range p.Claims {
			claimTenants, kinds, keys = append(claimTenants, string(p.Tenant)), append(kinds, c.Kind), append(keys, c.Key)
		}
	}
	q := &pgx.Batch{}
	q.Queue("begin isolation level read committed")
	q.Queue(lockSQL).QueryRow(func(row pgx.Row) error { return scanHead(row, &head) })
	q.Queue(versionsSQL, streams).Query(func(rows pgx.Rows) error {
		var id domain.StreamID
		var v domain.Sequence
		_, err := pgx.ForEachRow(rows, []any{&id, &v}, func() error { known.versions[id] = v; return nil })
		return err
	})
	q.Queue(commandsSQL, tenants, commands).Query(func(rows pgx.Rows) error {
		return readCommands(rows, func(k batch.CommandKey, d batch.Done) { known.commands[k] = d })
	})
	if len(keys) > 0 {
		q.Queue(claimsSQL, claimTenants, kinds, keys).Query(func(rows pgx.Rows) error {
			var k batch.ClaimKey
			_, err := pgx.ForEachRow(rows, []any{&k.Tenant, &k.Kind, &k.Key}, func() error { known.claims[k] = true; return nil })
			return err
		})
	}
	return head, known, a.conn.SendBatch(context.Background(), q).Close()
}

func scanHead(row pgx.Row, h *eventstore.Head) error {
	var hash []byte
	if err := row.Scan(&h.LogID, &h.Generation, &h.Position, &hash, &h.Recorded); err != nil {
		return err
	}
	h.Recorded = h.Recorded.UTC()
	copy(h.Hash[:], hash)
	return nil
}

func readCommands(rows pgx.Rows, each func(batch.CommandKey, batch.Done)) error {
	for rows.Next() {
		var k batch.CommandKey
		var d batch.Done
		var streams string
		if err := rows.Scan(&k.Tenant, &k.Command, &d.Body, &d.Receipt.First, &d.Receipt.Last, &d.Receipt.Recorded, &streams); err != nil {
			return err
		}
		d.Receipt.Recorded = d.Receipt.Recorded.UTC()
		var err error
		if d.Receipt.Streams, err = parseStreams(streams); err != nil {
			return fmt.Errorf("streams of command %s: %w", k.Command, err)
		}
		each(k, d)
	}
	return rows.Err()
}

// errMoved cannot happen while the lock is held, unless somebody changed the log
// without it.
var errMoved = errors.New("the head of the log changed under its lock")

// writeAndCommit sends the statement and the commit together.
func (a *appender) writeAndCommit(b *batch.Batch) error {
	form, params, formats, err := a.statement.bind(b)
	if err != nil {
		return err
	}
	a.sending(b)
	return a.inPipeline(func(p *pgconn.Pipeline) {
		p.SendQueryPrepared(form.name(), params, formats, nil)
		p.SendQueryParams("commit", nil, nil, nil, nil)
	}, func(results []*pgconn.Result) error {
		if len(results) != 2 || len(results[0].Rows) == 0 {
			return errMoved
		}
		if results[1].CommandTag.String() != "COMMIT" {
			return fmt.Errorf("commit answered %q", results[1].CommandTag)
		}
		return nil
	})
}

func (a *appender) end(how string) error {
	return a.inPipeline(func(p *pgconn.Pipeline) { p.SendQueryParams(how, nil, nil, nil, nil) },
		func([]*pgconn.Result) error { return nil })
}

func (a *appender) inPipeline(send func(*pgconn.Pipeline), check func([]*pgconn.Result) error) error {
	p := a.conn.PgConn().StartPipeline(context.Background())
	send(p)
	err := p.Sync()
	var results []*pgconn.Result
	for err == nil {
		var got any
		if got, err = p.GetResults(); err != nil {
			break
		}
		rr, ok := got.(*pgconn.ResultReader)
		if !ok { // the sync: no more follow
			break
		}
		r := rr.Read()
		results, err = append(results, r), r.Err
	}
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return check(results)
}

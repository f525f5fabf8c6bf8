package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/google/go-cmp/cmp"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	projectionmemory "github.com/hishamos/hishamos/internal/projection/memory"
	"github.com/hishamos/hishamos/internal/relay"
)

// check compares every promise with what is there once all is quiet.
func (w *simWorld) check() error {
	if w.broken != nil {
		return w.broken
	}
	records, err := w.store.ReadAll(context.Background(), 0, 1<<30)
	if err != nil {
		return err
	}
	for _, promise := range []func([]events.Record) error{w.checkLog, w.checkCommands, w.checkTopics, w.checkSpending, w.checkViews, w.checkAsOf, w.checkErasures, w.checkNewReaction} {
		if err := promise(records); err != nil {
			return err
		}
	}
	return w.broken
}

// checkLog holds the log against I2 and I3.
func (w *simWorld) checkLog(records []events.Record) error {
	var hash events.Hash
	versions := make(map[domain.StreamID]domain.Sequence)
	for i := range records {
		r := &records[i]
		if err := r.Follows(domain.Position(i), hash); err != nil {
			return fmt.Errorf("I3: %w", err)
		}
		hash = r.Hash
		if versions[r.Stream]++; r.Sequence != versions[r.Stream] {
			return fmt.Errorf("I2: %s is at %d, expected %d", r.Stream, r.Sequence, versions[r.Stream])
		}
		if i > 0 && r.Recorded.Before(records[i-1].Recorded) {
			return fmt.Errorf("I2: position %d was recorded before the one ahead of it", r.Position)
		}
	}
	return nil
}

// checkCommands holds it against I1: acknowledged exactly once, unknown at most
// once, refused never, and nothing that nobody asked for.
func (w *simWorld) checkCommands(records []events.Record) error {
	byCommand := make(map[domain.CommandID][]events.Record)
	for _, r := range records {
		byCommand[r.Command] = append(byCommand[r.Command], r)
	}
	known := make(map[domain.CommandID]bool)
	for _, c := range w.history.order {
		got := byCommand[c.id]
		known[c.id] = true
		what := fmt.Sprintf("%s %s", c.request.Command.CommandName(), c.request.ID)
		for i, r := range got {
			if r.Index != i || r.Count != len(got) || r.Position != got[0].Position+domain.Position(i) || r.Stream != c.request.Command.Target() {
				return fmt.Errorf("I1: %s was carried out more than once, or in parts", what)
			}
		}
		switch {
		case c.acked && c.receipt.Last > 0 && (len(got) == 0 || got[0].Position != c.receipt.First || got[len(got)-1].Position != c.receipt.Last):
			return fmt.Errorf("I1: %s was acknowledged with positions %d to %d, and there are %d events of it", what, c.receipt.First, c.receipt.Last, len(got))
		case c.acked && c.receipt.Last == 0 && len(got) > 0 && !c.unknown:
			return fmt.Errorf("I1: %s was acknowledged as satisfied, and has events", what)
		case !c.acked && !c.unknown && len(got) > 0:
			return fmt.Errorf("I1: %s was never acknowledged (%v), and has events", what, c.refused)
		}
	}
	for id, got := range byCommand {
		if !known[id] && got[0].Stream.Kind() != "reaction" {
			return fmt.Errorf("I1: nobody asked for %s of command %s", got[0].ID(), id)
		}
	}
	return nil
}

// checkTopics holds the topics against I4: each partition is the store's order,
// once exact repeats are dropped, and each record names the one before.
func (w *simWorld) checkTopics(records []events.Record) error {
	want := make(map[log.Partition][]events.Record)
	for _, r := range records {
		p := log.Partition{Topic: log.TopicOf(r.Type), ID: log.PartitionOf(string(r.Stream), simPartitions)}
		want[p] = append(want[p], r)
	}
	for _, topic := range relay.Topics() {
		for id := range simPartitions {
			p := log.Partition{Topic: topic, ID: int32(id)}
			reader, err := w.broker.Open(context.Background(), p, -1)
			if err != nil {
				return fmt.Errorf("I4: %w", err)
			}
			messages, err := reader.Poll(1 << 30)
			if err != nil {
				return fmt.Errorf("I4: %w", err)
			}
			if err := checkPartition(p, messages, want[p], w.epoch); err != nil {
				return fmt.Errorf("I4: %w", err)
			}
		}
	}
	return nil
}

func checkPartition(p log.Partition, messages []log.Message, want []events.Record, epoch int) error {
	next, last := 0, domain.Position(0)
	for _, m := range messages {
		r, err := log.Decode(m)
		if err != nil {
			return err
		}
		if r.Epoch != epoch {
			return fmt.Errorf("%s holds epoch %d", p, r.Epoch)
		}
		if r.Position <= last {
			continue
		}
		if next == len(want) || r.Hash != want[next].Hash || r.Position != want[next].Position {
			return fmt.Errorf("%s holds position %d, and not what the store has next", p, r.Position)
		}
		if r.PrevPos != last {
			return fmt.Errorf("%s: position %d names %d as the one before, which is %d", p, r.Position, r.PrevPos, last)
		}
		next, last = next+1, r.Position
	}
	if next < len(want) {
		return fmt.Errorf("%s lacks position %d", p, want[next].Position)
	}
	return nil
}

// checkSpending holds runs against I6: what was charged and reported is on the
// stream once, nothing else is, and only the open attempt's result counted.
func (w *simWorld) checkSpending(records []events.Record) error {
	type call struct {
		simAttempt
		n int
	}
	failed := make(map[simStep]int) // attempts of which the provider said that nothing happened
	spent := make(map[call]domain.Usage)
	open := make(map[simAttempt]bool)
	gone := make(map[domain.StreamID]bool)
	for _, e := range w.erasures {
		gone[e.stream] = e.order != nil
	}
	var sum, reported domain.NanoUSD
	for _, r := range records {
		e, err := r.Decode()
		if err != nil {
			return err
		}
		if e.Event, _, err = w.ring.Open(context.Background(), r.Envelope, e.Event); err != nil {
			return err
		}
		switch e := e.Event.(type) {
		case events.TokensSpent:
			c := call{simAttempt{r.Stream, e.Path, e.Attempt}, e.Call}
			book := w.ledger[c.simAttempt]
			if _, twice := spent[c]; twice || book == nil || e.Call > len(book.usage) || book.usage[e.Call-1] != e.Usage {
				return fmt.Errorf("I6: call %d of %s is recorded twice, or was never made", e.Call, c.simAttempt)
			}
			spent[c] = e.Usage
			sum += e.Usage.Amount
		case events.StepScheduled:
			a := simAttempt{r.Stream, e.Path, e.Attempt}
			if e.Attempt > 1 && open[simAttempt{r.Stream, e.Path, e.Attempt - 1}] {
				return fmt.Errorf("I6: %s began before the attempt ahead of it ended", a)
			}
			open[a] = true
		case events.StepCompleted:
			a := simAttempt{r.Stream, e.Path, e.Attempt}
			var output struct{ Attempt int }
			if err := json.Unmarshal(e.Output, &output); err != nil && !gone[r.Stream] {
				return err
			} else if err != nil {
				output.Attempt = e.Attempt // it was erased
			}
			if !open[a] || output.Attempt != e.Attempt {
				return fmt.Errorf("I6: %s was completed by attempt %d, and was open: %v", a, output.Attempt, open[a])
			}
			delete(open, a)
		case events.StepFailed:
			if e.Fault.Code == simRefused {
				failed[simStep{r.Stream, e.Path}]++
			}
			delete(open, simAttempt{r.Stream, e.Path, e.Attempt})
		case events.StepLapsed:
			delete(open, simAttempt{r.Stream, e.Path, e.Attempt})
		}
	}
	seen := make(map[simAttempt]bool)
	for _, c := range w.history.order {
		result, ok := simResult(c.request.Command)
		a := simAttempt{result.Run, result.Path, result.Attempt}
		if !ok || !c.acked || seen[a] {
			continue
		}
		seen[a] = true
		for i, u := range result.Spent {
			if got, ok := spent[call{a, i + 1}]; !ok || got != u {
				return fmt.Errorf("I6: call %d of %s was reported and acknowledged, and is not recorded", i+1, a)
			}
			reported += u.Amount
		}
	}
	if sum < reported {
		return fmt.Errorf("I6: %d nano-USD are recorded, %d were reported", sum, reported)
	}
	return w.checkCalls(failed)
}

func simResult(c commands.Command) (commands.StepResult, bool) {
	switch c := c.(type) {
	case commands.CompleteStep:
		return c.StepResult, true
	case commands.FailStep:
		return c.StepResult, true
	}
	return commands.StepResult{}, false
}

// simStep is one step of one run.
type simStep struct {
	stream domain.StreamID
	path   domain.StepPath
}

// checkCalls holds the provider's book against I6: at most one call per lease,
// and at most one per attempt where the effect may happen once; no further
// attempt at such a step unless it is known that those before did nothing. A
// repeatable attempt can be leased twice for as long as a former owner of its
// run has not noticed that it lost it; owners, whatever they knew of the run
// before, lease it once among them.
func (w *simWorld) checkCalls(failed map[simStep]int) error {
	guarded := make(map[simStep]int)
	for a, book := range w.ledger {
		if book.effect == domain.AtMostOnce && book.calls > 0 {
			guarded[simStep{a.stream, a.path}]++
		}
		if book.owned > 1 {
			return fmt.Errorf("I6: %s was given to workers %d times, %d times by the owner of its run", a, book.leases, book.owned)
		}
		if once := book.effect == domain.AtMostOnce; book.calls > book.leases || once && book.calls > 1 {
			return fmt.Errorf("I6: %s was given to workers %d times and called the provider %d times", a, book.leases, book.calls)
		}
	}
	for s, attempts := range guarded {
		if attempts > failed[s]+1 {
			return fmt.Errorf("I6: step %s of %s may happen once, and was attempted %d times after %d known failures", s.path, s.stream, attempts, failed[s])
		}
	}
	return nil
}

// checkViews holds the read models against I5, and the rebuild that this takes
// against I13: it calls nobody and asks for nothing.
func (w *simWorld) checkViews([]events.Record) error {
	asked, fresh := len(w.history.order), projectionmemory.New()
	other, err := w.replay(fresh, w.store)
	if err != nil {
		return err
	}
	for _, d := range w.definitions() {
		live, err := w.views.runner.Digest(context.Background(), d.Name)
		if err != nil {
			return err
		}
		anew, err := other.Digest(context.Background(), d.Name)
		if err != nil {
			return err
		}
		if live != anew {
			return fmt.Errorf("I5: %s differs from its replay", d.Name)
		}
	}
	if len(w.history.order) != asked {
		return fmt.Errorf("I13: a replay asked for something")
	}
	return nil
}

// replay fills empty tables from a store.
func (w *simWorld) replay(into projection.Store, from eventstore.Reader) (*projection.Runner, error) {
	r, err := projection.New(projection.Config{Definitions: w.definitions(), Store: into, Log: w.broker, Events: from, Locks: simLocks{}, Clock: w.clock})
	if err != nil {
		return nil, err
	}
	return r, r.Prepare(context.Background())
}

// checkAsOf holds the history of the read models against a replay of the events
// up to some position.
func (w *simWorld) checkAsOf(records []events.Record) error {
	if len(records) == 0 || w.seed%4 != 0 {
		return nil
	}
	r := records[w.Rand.IntN(len(records))]
	at := r.Position + domain.Position(r.Count-1-r.Index) // what one append wrote becomes true at once
	past := projectionmemory.New()
	if _, err := w.replay(past, simPrefix{w.store, at}); err != nil {
		return err
	}
	for _, d := range w.definitions() {
		for _, t := range d.Tables {
			if !t.History {
				continue
			}
			want, err := simRows(past, d, t, ^domain.Position(0))
			if err != nil {
				return err
			}
			got, err := simRows(w.tables.Store, d, t, at)
			if err != nil {
				return err
			}
			if !maps.Equal(got, want) {
				return fmt.Errorf("I11: %s as of position %d differs from a replay up to it: %s", t.Name, at, cmp.Diff(want, got))
			}
		}
	}
	return nil
}

// simRows are the rows of a table as of a position, without what history leaves
// out.
func simRows(s *projectionmemory.Store, d *projection.Definition, t *projection.Schema, at domain.Position) (map[string]string, error) {
	ctx := context.Background()
	b, _, err := s.Live(ctx, d.Name, d.Version)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for _, past := range []bool{false, true} {
		err := s.Scan(ctx, b, t, past, func(row any, from, to domain.Position) error {
			if from > at && !past {
				if before, since, ok := t.Before(row); ok && since <= at {
					row, from = before, since
				}
			}
			if from > at || past && to <= at {
				return nil
			}
			text := ""
			for i, c := range t.Columns {
				if !c.Live {
					text += fmt.Sprintln(t.Cells(row).At(i))
				}
			}
			out[t.Key(row)] += text
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// simPrefix is the store as it was at a position.
type simPrefix struct {
	eventstore.Store
	at domain.Position
}

// ReadAll implements eventstore.Reader.
func (s simPrefix) ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error) {
	if after >= s.at {
		return nil, nil
	}
	return s.Store.ReadAll(ctx, after, int(min(uint64(limit), uint64(s.at-after))))
}

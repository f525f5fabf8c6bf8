//go:build planted

package main

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/internal/reaction"
)

// simPlantSeeds is the number of seeds within which a planted bug must show.
const simPlantSeeds = 500

func TestPlantedBugsAreFound(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]struct {
		simPlant
		breaks string // the promise that some seed must name
	}{
		"publish before commit":         {simPlant{beforeCommit: publishFirst}, "I4"},
		"skip a position":               {simPlant{publish: skipPosition}, "I4"},
		"apply twice":                   {simPlant{commit: rowsWithoutCheckpoint}, "I5"},
		"park the wrong stream":         {simPlant{commit: parkAnother}, "I5"},
		"accept an old attempt":         {simPlant{aggregates: acceptOldAttempts()}, "I6"},
		"retry what may happen once":    {simPlant{aggregates: retryBlindly()}, "I6"},
		"reuse a command id":            {simPlant{request: reuseID}, "I6"},
		"lose a timer":                  {simPlant{fire: loseRetries}, "I7"},
		"start a reaction at 0":         {simPlant{from: func(domain.Position) domain.Position { return 0 }}, "I13"},
		"recover nothing":               {simPlant{react: recoverNothing}, "I7"},
		"believe what was known":        {simPlant{doubt: func() {}}, "I6"},
		"acknowledge before the commit": {simPlant{appended: acknowledgeAnyway}, "I1"},
		"keep a key that was erased":    {simPlant{destroy: keepKeys}, "I14"},
		"carry out no order":            {simPlant{react: eraseNothing}, "I7"},
		"seal reasons in no case":       {simPlant{sealer: func(s dispatch.Sealer) dispatch.Sealer { return openly{s} }}, "I14"},
		"keep plain text in a view":     {simPlant{project: keepOutputs}, "I14"},
		"change an event":               {simPlant{record: changeEvent}, "I3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := false
			simMany(t, simPlantSeeds, plant.simPlant, func(seed uint64, err error) bool {
				if strings.HasPrefix(err.Error(), plant.breaks) {
					found = true
					t.Logf("seed %d: %.300v", seed, err)
				}
				return !found
			})
			if !found {
				t.Errorf("no seed of %d names %s", simPlantSeeds, plant.breaks)
			}
		})
	}
}

// publishFirst puts on Kafka what is about to be committed.
func publishFirst(w *simWorld, a eventstore.Append) {
	head, err := w.memory.Head(context.Background())
	if err != nil {
		panic(err)
	}
	r, err := batch.New(head, w.clock.Now(), simKnown{w}).Add(a)
	if err != nil || r.Replayed || w.relayer == nil || w.relayer.relay == nil {
		return
	}
	w.relayer.relay.Feed(r.Records)
	w.within(w.relayer, func() { w.relayer.step() })
}

// simKnown shows a batch the store.
type simKnown struct{ w *simWorld }

func (k simKnown) Version(s domain.StreamID) (domain.Sequence, bool) {
	records, err := k.w.memory.ReadStream(context.Background(), s, 0, 1<<20)
	return domain.Sequence(len(records)), err == nil
}

func (k simKnown) Command(c batch.CommandKey) (batch.Done, bool) {
	r, body, ok, _ := k.w.memory.Committed(context.Background(), c.Tenant, c.Command)
	return batch.Done{Receipt: r, Body: body}, ok
}

func (simKnown) Claimed(batch.ClaimKey) bool { return false }

// skipPosition leaves out a record now and then, and says that it is written.
func skipPosition(w *simWorld, messages []log.Message) []log.Message {
	if len(messages) > 1 && w.Chance(0.05) {
		return messages[1:]
	}
	return messages
}

// rowsWithoutCheckpoint writes rows first and leaves the checkpoint for later.
func rowsWithoutCheckpoint(s projection.Store, c projection.Changes) error {
	all, err := s.Checkpoints(context.Background(), c.Build)
	if err != nil {
		return err
	}
	for _, old := range all {
		if old.Partition == c.Checkpoint.Partition {
			c.Checkpoint = old
		}
	}
	for _, t := range c.Tables { // the store in memory would not take a row for new twice
		for i := range t.Puts {
			t.Puts[i].New = false
		}
	}
	return s.Commit(context.Background(), c)
}

// parkAnother parks a stream that is well in place of the one that is not.
func parkAnother(s projection.Store, c projection.Changes) error {
	for i := range c.Park {
		c.Park[i].Stream = domain.RunID("run_00000000-0000-7000-8000-000000000000").Stream(domain.DefaultTenant)
	}
	return s.Commit(context.Background(), c)
}

// acceptOldAttempts takes every completion for one of the open attempt.
func acceptOldAttempts() []dispatch.Aggregate {
	gullible := run.Decider
	gullible.Decide = func(s run.State, c commands.Run, now time.Time) ([]events.Run, error) {
		if done, ok := c.(commands.CompleteStep); ok {
			if w, open := run.Work(done.Run, s, done.Path); open {
				done.Attempt = w.Attempt
				c = done
			}
		}
		return run.Decide(s, c, now)
	}
	return append(aggregates(), dispatch.For(gullible)) // of two for one kind the last counts
}

// retryBlindly takes every effect for repeatable.
func retryBlindly() []dispatch.Aggregate {
	blind := run.Decider
	blind.Decide = func(s run.State, c commands.Run, now time.Time) ([]events.Run, error) {
		switch asked := c.(type) {
		case commands.LapseStep:
			c = commands.FailStep{
				StepResult: commands.StepResult{Run: asked.Run, Path: asked.Path, Attempt: asked.Attempt},
				Fault:      domain.Fault{Code: "worker.gone", Message: "gone"},
			}
		case commands.FireTimer:
			if path, attempt, ok := strings.Cut(strings.TrimPrefix(asked.Timer, "timeout:"), "#"); ok && strings.HasPrefix(asked.Timer, "timeout:") {
				if w, open := run.Work(asked.Run, s, domain.StepPath(path)); open && strconv.Itoa(w.Attempt) == attempt && !now.Before(w.Deadline) {
					c = commands.FailStep{
						StepResult: commands.StepResult{Run: asked.Run, Path: w.Path, Attempt: w.Attempt},
						Fault:      domain.Fault{Code: run.CodeTimeout, Message: "too long"},
					}
				}
			}
		}
		return run.Decide(s, c, now)
	}
	return append(aggregates(), dispatch.For(blind))
}

// reuseID gives all attempts of a step one id.
func reuseID(r commands.Request) commands.Request {
	if result, ok := simResult(r.Command); ok {
		r.ID = domain.DerivedCommandID("worker.result", domain.EventID(string(result.Run)+"/"+string(result.Path)))
	}
	return r
}

// loseRetries forgets timers of one kind.
func loseRetries(_ *simWorld, t domain.Timer) bool { return !strings.HasPrefix(t.ID, "retry:") }

// recoverNothing takes partitions over without looking what their runs wait for.
func recoverNothing(r reaction.Reaction) reaction.Reaction {
	r.Recover = nil
	return r
}

// eraseNothing leaves the orders to erase.
func eraseNothing(r reaction.Reaction) reaction.Reaction {
	if r.Name == "erase" {
		r.Handle, r.Recover = func(context.Context, events.Recorded[events.Event]) error { return nil }, nil
	}
	return r
}

// acknowledgeAnyway takes an append of unknown outcome for done.
func acknowledgeAnyway(r eventstore.Receipt, err error) (eventstore.Receipt, error) {
	if err == eventstore.ErrUnknown {
		return eventstore.Receipt{First: 1, Last: 1}, nil
	}
	return r, err
}

// changeEvent flips what one event says.
func changeEvent(r *events.Record) {
	if r.Type == (events.StepFailed{}).EventType() {
		r.Data = append(slices.Clip(r.Data), ' ') // means the same
	}
}

// keepKeys says that keys were destroyed.
func keepKeys(context.Context, domain.StreamID, []string) error { return nil }

// openly leaves why a run was cancelled as it is.
type openly struct{ dispatch.Sealer }

// Seal implements dispatch.Sealer.
func (s openly) Seal(ctx context.Context, stream domain.StreamID, content string, e events.Event) (events.Event, string, string, error) {
	if _, ok := e.(events.RunCancelled); ok {
		return e, "", content, nil
	}
	return s.Sealer.Seal(ctx, stream, content, e)
}

// simOutput is what a step put out, in plain text.
type simOutput struct {
	Tenant domain.Tenant   `db:"tenant,key"`
	Run    domain.RunID    `db:"run,key"`
	Path   domain.StepPath `db:"path,key"`
	Output json.RawMessage `db:"output"`
}

var simOutputs = projection.NewTable[simOutput]("outputs")

// keepOutputs opens what steps put out and writes it down, where no erasure finds
// it.
func keepOutputs(w *simWorld) *projection.Definition {
	return &projection.Definition{
		Name: "outputs", Version: 1, Tables: []*projection.Schema{simOutputs.Schema},
		Handlers: []projection.Handler{projection.On(func(rows *projection.Rows, r events.Recorded[events.StepCompleted]) {
			opened, _, err := w.ring.Open(context.Background(), r.Envelope, r.Event)
			if err != nil {
				panic(err)
			}
			e := opened.(events.StepCompleted)
			simOutputs.Put(rows, simOutput{r.Stream.Tenant(), domain.RunID(r.Stream.Entity()), e.Path, e.Output})
		})},
	}
}

package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/handlers"
	"github.com/hishamos/hishamos/internal/lease"
	"github.com/hishamos/hishamos/internal/reaction"
	"github.com/hishamos/hishamos/internal/timer"
)

type clock struct{}

func (clock) Now() time.Time { return time.Unix(1000, 0) }

// world is what the reaction sees of runs: what each waits for.
type world struct {
	t        *testing.T
	ports    handlers.Ports
	intents  map[domain.StreamID]domain.Intents
	commands []commands.Request
	doubted  bool // what is known of runs is compared with the log
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, intents: map[domain.StreamID]domain.Intents{}}
	w.ports = handlers.Ports{
		Dispatcher: w, Board: lease.NewBoard(clock{}), Timers: timer.NewWheel(),
		RunIntents: func(_ context.Context, run domain.StreamID, _ domain.Sequence) (domain.Intents, error) {
			return w.intents[run], nil
		},
		Doubt: func() { w.doubted = true },
		OpenRuns: func(_ context.Context, after domain.StreamID, limit int) ([]domain.StreamID, error) {
			var open []domain.StreamID
			for run := range w.intents {
				if run > after {
					open = append(open, run)
				}
			}
			slices.Sort(open)
			return open[:min(limit, len(open))], nil
		},
	}
	return w
}

// Do implements commands.Dispatcher: a lapse replaces the attempt, once per id.
func (w *world) Do(_ context.Context, r commands.Request) (commands.Receipt, error) {
	if slices.ContainsFunc(w.commands, func(old commands.Request) bool { return old.ID == r.ID }) {
		return commands.Receipt{Replayed: true}, nil
	}
	w.commands = append(w.commands, r)
	if lapse, ok := r.Command.(commands.LapseStep); ok {
		in := w.intents[lapse.Run]
		for i := range in.Work {
			if in.Work[i].Path == lapse.Path && in.Work[i].Attempt == lapse.Attempt {
				in.Work[i].Attempt++
			}
		}
	}
	return commands.Receipt{}, nil
}

func (w *world) reaction() reaction.Reaction {
	all := handlers.All(w.ports)
	i := slices.IndexFunc(all, func(r reaction.Reaction) bool { return r.Name == "advance_run" })
	return all[i]
}

func (w *world) deliver(e events.Event, run domain.StreamID, index, count int) {
	w.t.Helper()
	err := w.reaction().Handle(w.t.Context(), events.Recorded[events.Event]{
		Envelope: events.Envelope{Stream: run, Sequence: 1, Index: index, Count: count}, Event: e,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) offered() []string {
	var out []string
	for _, l := range w.ports.Board.Claim("w", 99, 0) {
		out = append(out, fmt.Sprintf("%s#%d", l.Path, l.Attempt))
	}
	return out
}

func run(i int) domain.StreamID {
	return domain.NamedStreamID(domain.DefaultTenant, "run", fmt.Sprint(i))
}

func waits(run domain.StreamID, kind domain.StepKind) domain.Intents {
	return domain.Intents{
		Work:   []domain.Work{{Stream: run, Path: "a", Attempt: 1, Kind: kind, Effect: domain.Repeatable}},
		Timers: []domain.Timer{{Stream: run, ID: "timeout:a#1", Due: time.Unix(2000, 0)}},
	}
}

func TestDueWorkIsOfferedAndItsTimerSetOnceHoweverOftenTheEventComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.intents[run(1)] = waits(run(1), domain.AgentStep)
	for range 3 {
		w.deliver(events.StepScheduled{Path: "a", Attempt: 1}, run(1), 0, 1)
	}
	if got := w.offered(); !slices.Equal(got, []string{"a#1"}) {
		t.Errorf("offered %v, want a#1 once", got)
	}
	if got := w.ports.Timers.Due(time.Unix(3000, 0)); len(got) != 1 || got[0].ID != "timeout:a#1" {
		t.Errorf("timers %v, want one", got)
	}
	if len(w.commands) != 0 {
		t.Errorf("issued %v, want no command", w.commands)
	}
}

func TestARunThatEndedHasItsWorkWithdrawnAndItsTimersDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.intents[run(1)] = waits(run(1), domain.AgentStep)
	w.deliver(events.StepScheduled{Path: "a", Attempt: 1}, run(1), 0, 1)
	held := w.ports.Board.Claim("w", 1, 0)[0]
	w.intents[run(1)] = domain.Intents{}
	w.deliver(events.RunCancelled{}, run(1), 0, 1)
	select {
	case <-held.Withdrawn:
	default:
		t.Error("the worker was not told to stop")
	}
	if got := w.ports.Timers.Due(time.Unix(3000, 0)); got != nil {
		t.Errorf("timers %v, want none", got)
	}
}

func TestWhoTakesPartitionsOverReplacesAttemptsThatMayBeInOtherHands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.intents[run(1)] = waits(run(1), domain.AgentStep)
	w.intents[run(2)] = waits(run(2), domain.NoopStep)
	w.intents[run(3)] = waits(run(3), domain.AgentStep)
	mine := func(s domain.StreamID) bool { return s != run(3) }
	for range 2 { // and again, as after a crash in the middle
		if err := w.reaction().Recover(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
		w.reaction().Forget(mine)
	}
	if err := w.reaction().Recover(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	for _, c := range w.commands {
		if l, ok := c.Command.(commands.LapseStep); !ok || l.Run != run(1) {
			t.Errorf("issued %#v, want lapses of the agent's step only", c.Command)
		}
	}
	got := w.offered()
	slices.Sort(got)
	if want := []string{"a#1", fmt.Sprintf("a#%d", len(w.commands)+1)}; !slices.Equal(got, want) {
		t.Errorf("offered %v, want %v", got, want)
	}
}

// A run that this process knows from when it had it before may have ended in other
// hands; an event of before then must not bring its work back.
func TestWhoTakesPartitionsOverBelievesNothingFromBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	inMemory := map[domain.StreamID]domain.Intents{run(1): waits(run(1), domain.AgentStep)} // it ended elsewhere since
	w.ports.RunIntents = func(_ context.Context, run domain.StreamID, _ domain.Sequence) (domain.Intents, error) {
		if w.doubted {
			return w.intents[run], nil
		}
		return inMemory[run], nil
	}
	if err := w.reaction().Recover(t.Context(), func(domain.StreamID) bool { return true }); err != nil {
		t.Fatal(err)
	}
	w.deliver(events.StepScheduled{Path: "a", Attempt: 1}, run(1), 0, 1)
	if got := w.offered(); len(got) > 0 {
		t.Errorf("offered %v", got)
	}
}

// together is a dispatcher that answers once a number of callers are there.
type together struct {
	present atomic.Int64
	wanted  int64
	met     chan struct{}
}

func (d *together) Do(ctx context.Context, _ commands.Request) (commands.Receipt, error) {
	if d.present.Add(1) == d.wanted {
		close(d.met)
	}
	select {
	case <-d.met:
		return commands.Receipt{}, nil
	case <-ctx.Done():
		return commands.Receipt{}, ctx.Err()
	}
}

func TestAttemptsOfManyRunsAreReplacedSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 20 {
		w.intents[run(i)] = waits(run(i), domain.AgentStep)
	}
	d := &together{wanted: 8, met: make(chan struct{})}
	w.ports.Dispatcher, w.ports.Takeover = d, 8
	bounded, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.reaction().Recover(bounded, func(domain.StreamID) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if n := d.present.Load(); n != 20 {
		t.Errorf("%d attempts were replaced, want 20", n)
	}
}

func TestATakeoverThatFailsReplacesNoFurtherAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 20 {
		w.intents[run(i)] = waits(run(i), domain.AgentStep)
	}
	asked, known := 0, w.ports.RunIntents
	w.ports.RunIntents = func(ctx context.Context, r domain.StreamID, at domain.Sequence) (domain.Intents, error) {
		if asked++; asked == 3 {
			return domain.Intents{}, errors.New("planned")
		}
		return known(ctx, r, at)
	}
	if err := w.reaction().Recover(t.Context(), func(domain.StreamID) bool { return true }); err == nil || len(w.commands) != 2 {
		t.Errorf("%v after %d lapses, want an error after 2", err, len(w.commands))
	}
}

func TestATimerIsDeliveredUnderOneIdHoweverOftenItFires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		if err := w.ports.FireTimer(t.Context(), domain.Timer{Stream: run(1), ID: "deadline"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.commands) != 1 {
		t.Errorf("%d commands, want one", len(w.commands))
	}
}

func TestARunThatANewerBuildWroteToDoesNotKeepTheOthersFromBeingTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	newer, ours := run(1), run(2)
	w.intents[newer] = domain.Intents{}
	w.intents[ours] = domain.Intents{Work: []domain.Work{{Stream: ours, Path: "a", Attempt: 1, Kind: domain.AgentStep}}}
	known := w.ports.RunIntents
	w.ports.RunIntents = func(ctx context.Context, r domain.StreamID, at domain.Sequence) (domain.Intents, error) {
		if r == newer {
			return domain.Intents{}, fmt.Errorf("load %s: %w", r, events.ErrUnknownType)
		}
		return known(ctx, r, at)
	}
	if err := w.reaction().Recover(t.Context(), func(domain.StreamID) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if n := w.intents[ours].Work[0].Attempt; n != 2 {
		t.Errorf("the other run is at attempt %d, want 2", n)
	}
	if domain.KindOf(events.ErrUnknownType) != domain.Unavailable {
		t.Error("an event of a newer build is not taken for something that passes: it would be dead-lettered")
	}
}

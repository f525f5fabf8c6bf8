package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/run"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/dispatch"
	"github.com/hishamos/hishamos/internal/keys"
	"github.com/hishamos/hishamos/internal/log"
	"github.com/hishamos/hishamos/internal/relay"
	"github.com/hishamos/hishamos/internal/sim"
)

// simCanary is in everything that people and models write.
const simCanary = "songbird"

// simErasure is something that is erased once, while everything else goes on.
type simErasure struct {
	w       *simWorld
	name    string
	stream  domain.StreamID // of what it holds: a run, or the token of a person
	about   string          // the person; empty: the run is erased
	issue   *commands.Request
	order   *commands.Request
	ordered bool   // and acknowledged: the reaction does the rest
	version int    // of the stream when it was ordered
	before  string // what the run's stream folded to then
	done    bool
}

// addErasures erases some of the clients' runs, and some clients' names.
func (w *simWorld) addErasures() {
	for _, c := range w.clients {
		if w.Chance(0.4) {
			w.addErasure(&simErasure{name: c.name + ".run", stream: c.start.Command.Target()})
		}
		if !w.Chance(0.3) {
			continue
		}
		token := domain.NewStreamID(c.tenant, "token_"+w.NewID())
		issue := commands.Request{ID: domain.CommandID(w.NewID()), Principal: system("simulation"), Command: commands.IssueToken{
			Token: token, Tenant: c.tenant, Actor: domain.Actor{ID: c.name, Kind: domain.Human}, Holder: simCanary + " " + c.name,
			Permissions: []domain.Permission{domain.RunRead}, SecretHash: fmt.Sprintf("sha256:%064x", len(w.erasures)),
		}}
		w.addErasure(&simErasure{name: c.name + ".name", stream: token, about: c.name, issue: &issue})
	}
}

func (w *simWorld) addErasure(e *simErasure) {
	e.w = w
	w.erasures = append(w.erasures, e)
	w.Add(e.name, w.Between(time.Second, 40*time.Second), e.step)
}

func (e *simErasure) step() sim.Pause {
	later := sim.Pause(e.w.Between(100*time.Millisecond, 3*time.Second))
	switch {
	case e.done:
		return sim.Gone
	case e.issue != nil:
		if err, lived := e.w.ask(*e.issue); lived && err == nil {
			e.issue = nil
		}
	case e.order == nil:
		e.prepare()
	case !e.ordered:
		if err, lived := e.w.ask(*e.order); lived && err == nil {
			e.ordered = true
		}
	default:
		e.look()
	}
	return later
}

// prepare finds the keys once nothing goes on that needs them.
func (e *simErasure) prepare() {
	ctx := context.Background()
	records, err := e.w.memory.ReadStream(ctx, e.stream, 0, 1<<20)
	if err != nil {
		e.w.breaks("simulation", "read %s: %v", e.stream, err)
		return
	}
	subject, id, thing, ids := commands.EraseRun, e.stream.Entity(), e.stream.Entity(), []string(nil)
	if e.about != "" {
		key, _, err := e.w.ring.PersonKey(ctx, e.stream.Tenant(), e.about)
		if err != nil {
			e.w.breaks("simulation", "key of %s: %v", e.about, err)
			return
		}
		subject, id, thing, ids = commands.ErasePerson, e.about, e.about+"/"+key, []string{key}
	} else {
		if !slices.ContainsFunc(records, simEnds) {
			return
		}
		for _, r := range records {
			of, err := keys.IDs(r.Envelope)
			if err != nil {
				e.w.breaks("simulation", "keys of %s: %v", r.ID(), err)
			}
			ids = append(ids, of...)
		}
		slices.Sort(ids)
		if ids = slices.Compact(ids); len(ids) == 0 { // nothing was ever said
			e.done = true
			return
		}
		e.version, e.before = len(records), e.w.fold(e.stream)
	}
	tenant := e.stream.Tenant()
	e.order = &commands.Request{ID: domain.CommandID(e.w.NewID()), Principal: system("simulation"), Command: commands.OrderErasure{
		Order: commands.ErasureOrder(tenant, subject, thing), Subject: subject, ID: id, Keys: ids,
	}}
}

func simEnds(r events.Record) bool {
	return slices.Contains([]string{events.RunCompleted{}.EventType(), events.RunFailed{}.EventType(), events.RunCancelled{}.EventType()}, r.Type)
}

// look sees whether a reaction has carried out the order.
func (e *simErasure) look() {
	records, err := e.w.memory.ReadStream(context.Background(), e.what().Order, 0, 2)
	if err != nil {
		e.w.breaks("simulation", "read the order of %s: %v", e.name, err)
		return
	}
	if e.done = len(records) == 2 && records[1].Type == (events.ErasureCompleted{}).EventType(); e.done {
		e.w.Hit(erased)
	}
}

// what is the order.
func (e *simErasure) what() commands.OrderErasure { return e.order.Command.(commands.OrderErasure) }

// fold is what a process without a memory makes of a run: all that decides what
// comes next, and no content.
func (w *simWorld) fold(stream domain.StreamID) string {
	d := dispatch.New(w.memory, dispatch.Options{Clock: w.clock, Sealer: w.ring}, w.aggregates()...)
	folded, _, err := dispatch.Observe(context.Background(), d, stream, 0, func(s run.State) string {
		ended, total := s.Progress()
		text := fmt.Sprintf("%v %s %d/%d %+v", s.Phase(), s.Workflow(), ended, total, run.Intents(stream, s))
		if f := s.Fault(); f != nil {
			text += " " + f.Code
		}
		for _, path := range []domain.StepPath{"a", "b", "c", "d", "e"} {
			text += fmt.Sprintf(" %s:%v", path, s.Status(path))
		}
		return text
	})
	if err != nil {
		w.breaks("I14", "%s does not fold: %v", stream, err)
	}
	return folded
}

// checkErasures holds everything that is kept against I14: what people and models
// wrote is nowhere as it is, what was erased cannot be read by anybody and still
// folds to what it did, and the rest can be read.
func (w *simWorld) checkErasures(records []events.Record) error {
	w.ring.Forget()
	for _, find := range []func([]events.Record) error{w.plainOnLog, w.plainOnTopics, w.plainInViews} {
		if err := find(records); err != nil {
			return fmt.Errorf("I14: %w", err)
		}
	}
	gone := make(map[domain.StreamID]*simErasure)
	for _, e := range w.erasures {
		if e.order == nil {
			continue
		}
		o := e.what()
		gone[e.stream] = e
		for _, id := range o.Keys {
			if destroyed, by, err := w.ring.State(context.Background(), e.stream.Tenant(), id); err != nil || !destroyed || by != o.Order {
				return fmt.Errorf("I14: key %s of %s was erased, and is destroyed: %t, %v", id, e.name, destroyed, err)
			}
		}
		if now, err := w.memory.ReadStream(context.Background(), e.stream, 0, 1<<20); err != nil {
			return err
		} else if e.about == "" && len(now) == e.version && w.fold(e.stream) != e.before {
			return fmt.Errorf("I14: %s folds to another state once erased", e.stream)
		}
	}
	for _, r := range records {
		e, err := r.Decode()
		if err != nil {
			return err
		}
		opened, _, err := w.ring.Open(context.Background(), r.Envelope, e.Event)
		if err != nil {
			return fmt.Errorf("I14: %s cannot be opened: %w", r.ID(), err)
		}
		_, data, err := events.Encode(opened)
		if err != nil {
			return err
		}
		if says := bytes.Contains(data, []byte(simCanary)); says && gone[r.Stream] != nil {
			return fmt.Errorf("I14: %s was erased and says %s", r.ID(), data)
		} else if says {
			w.Hit(readable)
		}
	}
	return nil
}

func (w *simWorld) plainOnLog(records []events.Record) error {
	for _, r := range records {
		if bytes.Contains(r.Data, []byte(simCanary)) {
			return fmt.Errorf("%s holds plain text: %s", r.ID(), r.Data)
		}
	}
	return nil
}

func (w *simWorld) plainOnTopics([]events.Record) error {
	for _, topic := range relay.Topics() {
		for id := range simPartitions {
			reader, err := w.broker.Open(context.Background(), log.Partition{Topic: topic, ID: int32(id)}, -1)
			if err != nil {
				return err
			}
			messages, err := reader.Poll(1 << 30)
			if err != nil {
				return err
			}
			for _, m := range messages {
				if bytes.Contains(m.Value, []byte(simCanary)) {
					return fmt.Errorf("%s holds plain text: %s", topic, m.Value)
				}
			}
		}
	}
	return nil
}

func (w *simWorld) plainInViews([]events.Record) error {
	for _, d := range w.definitions() {
		b, _, err := w.tables.Live(context.Background(), d.Name, d.Version)
		if err != nil {
			return err
		}
		for _, t := range d.Tables {
			for _, past := range []bool{false, true} {
				err := w.tables.Scan(context.Background(), b, t, past, func(row any, _, _ domain.Position) error {
					for i, c := range t.Columns {
						if text := fmt.Sprint(t.Cells(row).At(i)); bytes.Contains([]byte(text), []byte(simCanary)) {
							return fmt.Errorf("%s.%s holds plain text: %s", t.Name, c.Name, text)
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// What the runs of all seeds must have come across.
const (
	erased   = "something is erased"
	readable = "something that is not erased is read"
)

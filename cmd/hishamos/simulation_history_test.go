package main

import (
	"context"
	"errors"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// simHistory is what was asked and what was answered, kept outside of all
// processes.
type simHistory struct {
	byID  map[domain.CommandID]*simCall
	order []*simCall
}

// simCall is everything that is known of one command id.
type simCall struct {
	request commands.Request
	id      domain.CommandID // it is known by in the log
	acked   bool
	unknown bool // some answer never came, or said so
	refused error
	receipt commands.Receipt // the first that names events
}

func newSimHistory() *simHistory { return &simHistory{byID: make(map[domain.CommandID]*simCall)} }

// simDoor is where commands enter a node; it keeps the history.
type simDoor struct{ n *simNode }

// Do implements commands.Dispatcher.
func (d simDoor) Do(ctx context.Context, r commands.Request) (commands.Receipt, error) {
	w := d.n.w
	h := w.history
	c := h.byID[r.ID]
	if c == nil {
		c = &simCall{request: r, id: r.ID}
		h.byID[r.ID] = c
		h.order = append(h.order, c)
	}
	answered := false
	defer func() {
		if !answered {
			c.unknown = true
		}
	}()
	sent := r
	if w.plant.request != nil {
		sent = w.plant.request(r)
		c.id = sent.ID
	}
	receipt, err := d.n.dispatcher.Do(ctx, sent)
	answered = true
	name := r.Command.CommandName()
	switch {
	case err == nil:
		w.Note(d.n.name, name, simShort(r.Command.Target()), "is done", uint64(receipt.First), uint64(receipt.Last))
		c.ack(w, receipt)
	case domain.KindOf(err) == domain.Unknown:
		c.unknown = true
		w.Note(d.n.name, name, "outcome unknown")
	case simPassing(err):
		if !isDomain(err) {
			w.breaks("simulation", "%s: %v", name, err)
		}
		w.Note(d.n.name, name, "not now")
	default:
		w.Note(d.n.name, name, simShort(r.Command.Target()), "is refused:", err.Error())
		if string(r.Body) == string(c.request.Body) {
			c.refused = err
		}
	}
	return receipt, err
}

func isDomain(err error) bool {
	_, ok := errors.AsType[*domain.Error](err)
	return ok
}

// ack takes an answer: one that names events is the same for ever.
func (c *simCall) ack(w *simWorld, r commands.Receipt) {
	switch {
	case c.receipt.Last == 0:
		c.receipt = r
	case r.First != c.receipt.First, r.Last != c.receipt.Last, r.Version != c.receipt.Version, r.Stream != c.receipt.Stream, !r.Recorded.Equal(c.receipt.Recorded):
		w.breaks("I8", "%s %s was answered %+v and then %+v", c.request.Command.CommandName(), c.request.ID, c.receipt, r)
	}
	c.acked = true
}

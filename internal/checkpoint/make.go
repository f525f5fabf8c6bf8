package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// Reader reads the log in order.
type Reader interface {
	ReadAll(ctx context.Context, after domain.Position, limit int) ([]events.Record, error)
}

// Options are a Maker's settings.
type Options struct {
	Log      Reader
	Store    Store
	Origin   string
	Keys     func() (Keys, error) // asked before each signature, so that a rotated key counts at once
	Every    int                  // events between two checkpoints at most
	Interval time.Duration        // between two checkpoints at most, if there is anything new
	Now      func() time.Time
	Made     func() // told that there are new checkpoints; it must not block
	Logger   *slog.Logger
}

// Maker makes checkpoints, behind the appends and out of their way. Step and Run
// belong to one goroutine; Position is safe for all.
type Maker struct {
	opts     Options
	state    state
	loaded   bool
	position atomic.Uint64
}

// NewMaker returns a maker; nothing happens before Step or Run.
func NewMaker(o Options) *Maker { return &Maker{opts: o} }

// Position is that of the last checkpoint made here.
func (m *Maker) Position() domain.Position { return domain.Position(m.position.Load()) }

const readPage = 2000

// Step reads the next events, checks that they follow on, and signs what is due;
// now: also if nothing is due yet, at the end of the log. It returns whether the
// end was reached. A log that does not follow on is not signed: the error is an
// *events.ChainError.
func (m *Maker) Step(ctx context.Context, now bool) (end bool, err error) {
	if !m.loaded {
		if m.state, err = m.opts.Store.load(ctx); err != nil {
			return false, err
		}
		m.loaded = true
		m.position.Store(uint64(m.state.newest.Position))
	}
	end, err = m.step(ctx, now)
	if err != nil {
		m.loaded = false // what is in memory may be ahead of what is kept
	}
	return end, err
}

func (m *Maker) step(ctx context.Context, now bool) (end bool, err error) {
	st := &m.state
	records, err := m.opts.Log.ReadAll(ctx, st.mark.Position, readPage)
	if err != nil {
		return false, err
	}
	var made []Signed
	sign := func(at events.Mark) error {
		n, err := m.sign(at)
		if err != nil {
			return err
		}
		st.newest, made = n, append(made, n)
		return nil
	}
	err = st.mark.Walk(records, func(r *events.Record, leaf events.Hash) error {
		if err := st.tree.Add(leaf); err != nil {
			return err
		}
		if r.Position-st.newest.Position < domain.Position(m.opts.Every) {
			return nil
		}
		return sign(events.Mark{Position: r.Position, Hash: r.Hash})
	})
	if err != nil {
		return false, fmt.Errorf("make checkpoint: %w", err)
	}
	end = len(records) < readPage
	due := now || m.opts.Now().Sub(st.newest.Time) >= m.opts.Interval
	if end && due && st.mark.Position > st.newest.Position {
		if err := sign(st.mark); err != nil {
			return false, fmt.Errorf("make checkpoint: %w", err)
		}
	}
	if len(made) == 0 {
		return end, nil
	}
	if err := m.opts.Store.save(ctx, st.kept, *st, made); err != nil {
		return false, err
	}
	st.kept = st.mark.Position
	m.position.Store(uint64(st.newest.Position))
	if m.opts.Made != nil {
		m.opts.Made()
	}
	return end, nil
}

func (m *Maker) sign(at events.Mark) (Signed, error) {
	root, err := m.state.tree.Root()
	if err != nil {
		return Signed{}, err
	}
	keys, err := m.opts.Keys()
	if err != nil {
		return Signed{}, err
	}
	before := m.state.newest
	made := m.opts.Now().UTC().Truncate(time.Microsecond)
	if made.Before(before.Time) { // a clock that was set back
		made = before.Time
	}
	return keys.Sign(Checkpoint{Origin: m.opts.Origin, Position: at.Position, Root: root, Chain: at.Hash, Time: made}, before.Key)
}

// Run makes checkpoints until the context ends. It fails only with what an
// operator must see to.
func (m *Maker) Run(ctx context.Context) error {
	pause := min(max(m.opts.Interval/10, 50*time.Millisecond), time.Second)
	for {
		end, err := m.Step(ctx, false)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrMoved):
			continue
		case err != nil:
			return err
		}
		if !end {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

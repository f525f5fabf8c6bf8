package checkpoint

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
)

// Anchor is a place elsewhere that checkpoints are brought to.
type Anchor interface {
	Source
	// Newest is the last whole checkpoint there.
	Newest(ctx context.Context) (Signed, bool, error)
	// Append puts checkpoints behind those that are there, all of them durable
	// when it returns. After an error any number may be there.
	Append(ctx context.Context, notes []Signed) error
}

// State is how it stands with one anchor.
type State struct {
	Anchor   string          `json:"anchor"`
	Outside  bool            `json:"outside"`
	Position domain.Position `json:"position"` // of the newest checkpoint there
	Error    string          `json:"error,omitempty"`
}

// Delivery brings checkpoints to one anchor. What it cannot bring now it brings
// later, in order; nobody waits for it.
type Delivery struct {
	anchor Anchor
	store  Store
	logger *slog.Logger
	kick   chan struct{}

	mu    sync.Mutex
	state State
}

// NewDelivery returns a delivery; nothing happens before Deliver or Run.
func NewDelivery(a Anchor, s Store, logger *slog.Logger) *Delivery {
	return &Delivery{
		anchor: a, store: s, logger: logger, kick: make(chan struct{}, 1),
		state: State{Anchor: a.Name(), Outside: a.Outside()},
	}
}

// State is how it stands; safe for all.
func (d *Delivery) State() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

// Kick says that there may be something to bring.
func (d *Delivery) Kick() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

const deliverPage = 200

// Deliver brings what the anchor lacks.
func (d *Delivery) Deliver(ctx context.Context) error {
	newest, any, err := d.anchor.Newest(ctx)
	for err == nil {
		d.reached(newest.Position)
		var notes []Signed
		if notes, err = d.store.After(ctx, newest.Position, deliverPage); err != nil || len(notes) == 0 {
			break
		}
		if any {
			if err = notes[0].follows(newest); err != nil {
				err = ErrKey.With("the newest checkpoint there cannot be gone on from: %v", err)
				break
			}
		}
		if err = d.anchor.Append(ctx, notes); err == nil {
			newest, any = notes[len(notes)-1], true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Error = ""
	if err != nil {
		d.state.Error = err.Error()
		return fmt.Errorf("anchor %s: %w", d.anchor.Name(), err)
	}
	return nil
}

func (d *Delivery) reached(p domain.Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Position = p
}

// The pauses after a failed delivery, and how long one may take.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	patience   = time.Minute
)

// Run brings checkpoints whenever it is kicked, and tries again after a failure,
// until the context ends.
func (d *Delivery) Run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, patience)
		err := d.Deliver(bounded)
		cancel()
		var again <-chan time.Time
		if err != nil && ctx.Err() == nil {
			d.logger.Warn("checkpoints do not reach an anchor", "error", err, "retry_in", pause)
			again = time.After(pause)
			pause = min(2*pause, lastPause)
		} else {
			pause = firstPause
		}
		if again == nil {
			select {
			case <-d.kick:
			case <-ctx.Done():
			}
			continue
		}
		select {
		case <-again:
		case <-ctx.Done():
		}
	}
}

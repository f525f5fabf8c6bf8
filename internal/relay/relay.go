// Package relay puts every committed event on Kafka: it is the only publisher
// of the context topics.
//
// It must not know what events mean, and no cursor of its own decides anything:
// what is published is what the topics hold. It may import internal/log,
// internal/eventstore, events and domain.
//
// Start reading at Relay; resume.go finds out where to go on, run.go loops,
// merge.go reads the topics back as one log.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// Lock lets one relay write at a time. It is asked before each batch.
type Lock interface {
	// Held is nil while this process holds the lock, taking it if it is free.
	Held(ctx context.Context) error
}

// Options are the relay's settings. The zero values of all but Partitions and
// Epoch are defaults.
type Options struct {
	Partitions int               // of each topic; fixed when a log begins
	Epoch      int               // of the Kafka log, from 1
	Config     map[string]string // further settings of topics
	Batch      int               // events read and sent at once; default 1000
	InFlight   int               // batches sent and not acknowledged; default 8
	Lock       Lock              // none: nobody else publishes
	Poll       time.Duration     // the net under Wake and Feed; default 1 s
	HintEvery  int               // events after which the resume hint is stored; default 20,000
	// Linger is how far batches that are not full are apart, so that a busy log makes
	// fewer of them. The first event after a pause goes at once, and a few events
	// after a part of it. It is asked again each time; nil: not at all.
	Linger func() time.Duration
	// OnPublished is called in order, by the goroutine that runs the relay.
	OnPublished func(domain.Position)
	// OnArrived is called by that goroutine too: events that were fed are on Kafka, so
	// long after that. It is not told of events that came from the store.
	OnArrived func(events int, after time.Duration)
	Logger    *slog.Logger
}

// Relay publishes a store's events in order. Step, Resume, Run and Close belong
// to one goroutine; Feed, Published and Mark are safe for all.
type Relay struct {
	store eventstore.Reader
	log   log.Log
	opts  Options
	feed  feed

	resumed  bool
	writer   log.Writer
	next     domain.Position // the next position to read
	hash     *events.Hash    // of the record before next, when known
	tails    map[log.Partition]domain.Position
	topics   map[string]bool
	inFlight []flight
	hint     hint
	look     bool      // the store may have more than was fed
	sent     time.Time // when the last batch went that was not full

	mu        sync.Mutex
	published log.Mark
}

// flight is a batch on its way.
type flight struct {
	ack    *log.Ack
	last   domain.Position
	events int // messages sent; records the topic had already do not count
	tails  map[log.Partition]domain.Position
}

// New returns a relay; nothing happens before Step, Resume or Run.
func New(store eventstore.Reader, l log.Log, o Options) *Relay {
	if o.Batch == 0 {
		o.Batch = 1000
	}
	if o.InFlight == 0 {
		o.InFlight = 8
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	if o.HintEvery == 0 {
		o.HintEvery = 20_000
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Relay{store: store, log: l, opts: o, feed: feed{limit: 16 * o.Batch, wake: make(chan struct{}, 1)}}
}

// Published is the position up to which every event is acknowledged.
func (r *Relay) Published() domain.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.published.Position
}

// Mark is Published with what each partition then ended with.
func (r *Relay) Mark() log.Mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return log.Mark{Position: r.published.Position, Tails: maps.Clone(r.published.Tails)}
}

// Feed hands over events that were just committed, so that they need not be
// read from the store. It never blocks; what does not follow on is read from
// the store instead.
func (r *Relay) Feed(records []events.Record) { r.feed.add(records) }

// Step sends the next batch, or waits for the oldest one on its way, and returns
// how many messages were acknowledged meanwhile. It resumes first if it has to.
// (0, nil) means that everything the store has is published.
func (r *Relay) Step(ctx context.Context) (published int, err error) {
	r.look = true
	for {
		n, idle, err := r.step(ctx)
		published += n
		if err != nil || published > 0 || idle && len(r.inFlight) == 0 {
			return published, err
		}
		if !idle && len(r.inFlight) < r.opts.InFlight {
			continue
		}
		select {
		case <-r.inFlight[0].ack.Done():
		case <-ctx.Done():
			return published, ctx.Err()
		}
	}
}

// step takes what is acknowledged and sends one batch if there is one and room
// for it; idle says that there was none. It does not wait for acknowledgements.
func (r *Relay) step(ctx context.Context) (published int, idle bool, err error) {
	if !r.resumed {
		if err := r.hold(ctx); err != nil {
			return 0, true, err
		}
		if err := r.Resume(ctx); err != nil {
			return 0, true, err
		}
		r.look = true
	}
	published, err = r.settle()
	if err != nil || len(r.inFlight) >= r.opts.InFlight {
		return published, false, err
	}
	if r.hint.noted >= r.opts.HintEvery {
		if err := r.storeHint(ctx); err != nil {
			r.abandon()
			return published, false, err
		}
	}
	records, err := r.read(ctx)
	if err != nil || len(records) == 0 {
		return published, true, err
	}
	if err := r.hold(ctx); err != nil {
		return published, true, err
	}
	if err := r.send(ctx, records); err != nil {
		r.abandon()
		return published, true, err
	}
	n, err := r.settle() // a log in memory has answered already
	return published + n, false, err
}

// hold makes sure that this relay may write; without the lock it gives up what is
// on its way.
func (r *Relay) hold(ctx context.Context) error {
	if r.opts.Lock == nil {
		return nil
	}
	if err := r.opts.Lock.Held(ctx); err != nil {
		r.abandon()
		return fmt.Errorf("hold relay lock: %w", err)
	}
	return nil
}

// read returns the records from next on, checked to follow on. The store is asked
// only when it may have more than was fed.
func (r *Relay) read(ctx context.Context) ([]events.Record, error) {
	records, gap := r.feed.take(r.next, r.opts.Batch)
	if records == nil && (r.look || !r.feed.reaches(r.next)) {
		limit := min(r.opts.Batch, gap)
		var err error
		if records, err = r.store.ReadAll(ctx, r.next-1, limit); err != nil {
			return nil, fmt.Errorf("read after %d: %w", r.next-1, err)
		}
		r.look = len(records) == limit
	}
	at, hash := r.next, r.hash
	for i := range records {
		rec := &records[i]
		if rec.Position != at {
			return nil, fmt.Errorf("read after %d: %w", r.next-1, &events.ChainError{Position: at, Reason: fmt.Sprintf("the store gave %d instead", rec.Position)})
		}
		if hash != nil && rec.PrevHash != *hash {
			return nil, &DivergedError{Position: at - 1, Log: *hash, Store: rec.PrevHash}
		}
		at, hash = at+1, &rec.Hash
	}
	return records, nil
}

// send gives a batch to the writer, without what the topics hold already.
func (r *Relay) send(ctx context.Context, records []events.Record) error {
	messages := make([]log.Message, 0, len(records))
	tails := make(map[log.Partition]domain.Position)
	for _, rec := range records {
		p := log.Partition{Topic: log.TopicOf(rec.Type), ID: log.PartitionOf(string(rec.Stream), r.opts.Partitions)}
		if !r.topics[p.Topic] { // a type that this build does not know
			if err := r.create(ctx, p.Topic); err != nil {
				return err
			}
		}
		if rec.Position <= r.tails[p] {
			continue
		}
		published := log.Published{Record: rec, Epoch: r.opts.Epoch, PrevPos: r.tails[p]}
		messages = append(messages, log.Remember(log.Encode(published, r.opts.Partitions), published))
		r.tails[p] = rec.Position
		tails[p] = rec.Position
	}
	failpoint.Hit("relay.before_publish")
	ack, err := r.writer.Send(ctx, messages)
	if err != nil {
		return fmt.Errorf("publish from %d: %w", r.next, err)
	}
	failpoint.Hit("relay.after_send")
	if r.sent = time.Now(); len(records) == r.opts.Batch { // there is more
		r.sent = time.Time{}
	}
	last := records[len(records)-1]
	r.next, r.hash = last.Position+1, &last.Hash
	r.inFlight = append(r.inFlight, flight{ack, last.Position, len(messages), tails})
	return nil
}

// settle takes the batches that are acknowledged, oldest first.
func (r *Relay) settle() (published int, err error) {
	for len(r.inFlight) > 0 {
		f := r.inFlight[0]
		select {
		case <-f.ack.Done():
		default:
			return published, nil
		}
		if err := f.ack.Err(); err != nil {
			r.abandon()
			return published, fmt.Errorf("publish up to %d: %w", f.last, err)
		}
		failpoint.Hit("relay.after_ack")
		r.inFlight = r.inFlight[1:]
		published += f.events
		r.hint.note(f)
		if r.opts.OnArrived != nil {
			r.feed.arrived(f.last, r.opts.OnArrived)
		}
		r.mark(f.last, f.tails, false)
	}
	return published, nil
}

// mark tells how far everything is acknowledged. Telling it again is no news,
// except when resuming: an earlier relay may have told more than is still there.
func (r *Relay) mark(p domain.Position, tails log.Tails, resuming bool) {
	r.mu.Lock()
	changed := p != r.published.Position
	r.published.Position = p
	if resuming {
		r.published.Tails = maps.Clone(tails)
	} else {
		maps.Copy(r.published.Tails, tails)
	}
	r.mu.Unlock()
	if (changed || resuming) && r.opts.OnPublished != nil {
		r.opts.OnPublished(p)
	}
}

// abandon gives up what is on its way; the next step resumes from the topics.
func (r *Relay) abandon() {
	if r.writer != nil {
		if err := r.writer.Close(); err != nil {
			r.opts.Logger.Warn("closing a writer", "error", err)
		}
	}
	r.writer, r.resumed, r.inFlight, r.hash = nil, false, nil, nil
}

// Close stores the resume hint and ends the writer. What is on its way may or
// may not be written.
func (r *Relay) Close(ctx context.Context) error {
	_, err := r.settle()
	if r.resumed {
		err = errors.Join(err, r.storeHint(ctx))
	}
	r.abandon()
	return err
}

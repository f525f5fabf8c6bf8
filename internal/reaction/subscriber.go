package reaction

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// subscriber feeds one reaction's router handler from the partitions that this
// process owns. It implements message.Subscriber.
type subscriber struct {
	opts     Options
	reaction Reaction
	from     domain.Position
	out      chan *message.Message

	mu    sync.Mutex
	owned map[log.Partition]*worker
	asks  []Requeue
	asked time.Time // when asks was read
}

type deliveryKey struct{}

// Subscribe implements message.Subscriber. It serves until the context ends.
func (s *subscriber) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	go func() {
		defer close(s.out)
		s.assign(ctx)
	}()
	return s.out, nil
}

// Close implements message.Subscriber; the context of Subscribe ends it.
func (s *subscriber) Close() error { return nil }

// assign takes partitions nobody owns, and starts again when the lock session
// is lost.
func (s *subscriber) assign(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.own(ctx); err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("reaction lost its partitions", "handler", s.reaction.Name, "error", err)
			wait(ctx, s.opts.Retry)
		}
	}
}

// own holds one lock session and as many partitions as it can get, until the
// session is lost or a partition fails.
func (s *subscriber) own(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	session, err := s.opts.Lock(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := session.Close(context.WithoutCancel(ctx)); err != nil {
			s.opts.Logger.Debug("close lock session", "handler", s.reaction.Name, "error", err)
		}
	}()
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel(nil)
	go func() {
		select {
		case <-session.Lost():
			cancel(errors.New("lock session lost"))
		case <-ctx.Done():
		}
	}()
	for {
		taken, err := s.take(ctx, session)
		if err != nil {
			return err
		}
		if err := s.begin(ctx, taken, session.Lost(), &workers, cancel); err != nil {
			return err
		}
		if !wait(ctx, s.opts.Reassign) {
			return context.Cause(ctx)
		}
	}
}

// take locks every partition that is free.
func (s *subscriber) take(ctx context.Context, session Session) ([]log.Partition, error) {
	var taken []log.Partition
	for _, topic := range s.reaction.Topics() {
		for i := range s.opts.Partitions {
			p := log.Partition{Topic: topic, ID: int32(i)}
			s.mu.Lock()
			_, mine := s.owned[p]
			s.mu.Unlock()
			if mine {
				continue
			}
			ok, err := session.Try(ctx, "reaction/"+s.reaction.Name+"/"+p.String())
			if err != nil {
				return nil, err
			}
			if ok {
				taken = append(taken, p)
			}
		}
	}
	return taken, nil
}

// begin recovers what the new partitions' streams wait for, and reads on.
func (s *subscriber) begin(ctx context.Context, taken []log.Partition, lost <-chan struct{}, workers *sync.WaitGroup, cancel context.CancelCauseFunc) error {
	if len(taken) == 0 {
		return nil
	}
	failpoint.Hit("reaction.after_take")
	resumes := make([]Resume, len(taken))
	for i, p := range taken {
		var err error
		if resumes[i], err = s.resume(ctx, p); err != nil {
			return err
		}
	}
	// After the resume points are known, so that nothing falls between the two;
	// before any event, so that what is found does not overtake what events say.
	failpoint.Hit("reaction.before_recover")
	if s.reaction.Recover != nil {
		if err := s.reaction.Recover(ctx, s.inPartitions(taken)); err != nil {
			s.forget(taken...) // what it has found before
			return err
		}
	}
	failpoint.Hit("reaction.after_recover")
	for i, p := range taken {
		w := &worker{
			s: s, partition: p, lost: lost,
			feed: newFeed(p, s.opts.Partitions, s.reaction, s.from, resumes[i], s.opts.Store),
			acks: make(chan outcome, maxLoad), fresh: make(chan []*events.Record, 256),
			again: make(map[domain.StreamID]Requeue),
		}
		s.mu.Lock()
		s.owned[p] = w
		s.mu.Unlock()
		workers.Add(1)
		go func() {
			defer workers.Done()
			err := w.run(ctx)
			s.mu.Lock()
			delete(s.owned, p)
			s.mu.Unlock()
			s.forget(p)
			if err != nil {
				cancel(err)
			}
		}()
	}
	s.opts.Logger.Info("reaction took partitions", "handler", s.reaction.Name, "partitions", len(taken))
	return nil
}

func (s *subscriber) forget(ps ...log.Partition) {
	if s.reaction.Forget != nil {
		s.reaction.Forget(s.inPartitions(ps))
	}
}

// resume is where to go on in a partition. If that is lost, it is the head:
// history is not reacted to again, and Recover finds what is still open.
func (s *subscriber) resume(ctx context.Context, p log.Partition) (Resume, error) {
	at, ok, err := s.opts.Resumes.Load(ctx, s.reaction.Name, p)
	if err != nil || ok {
		return at, err
	}
	head, err := s.opts.Store.Head(ctx)
	s.opts.Logger.Warn("resume point lost: going on at the head", "handler", s.reaction.Name, "partition", p.String(), "position", head.Position)
	return Resume{Position: head.Position}, err
}

func (s *subscriber) inPartitions(ps []log.Partition) func(domain.StreamID) bool {
	return func(stream domain.StreamID) bool {
		id := log.PartitionOf(string(stream), s.opts.Partitions)
		for _, p := range ps {
			if p.ID == id && p.Topic == log.TopicOf(stream.Kind()) {
				return true
			}
		}
		return false
	}
}

// express hands fresh commits to the partitions that are owned here; other
// reactions read the same slices. What does not fit is left to Kafka.
func (s *subscriber) express(parts map[log.Partition][]*events.Record) {
	for p, records := range parts {
		s.mu.Lock()
		w := s.owned[p]
		s.mu.Unlock()
		if w == nil {
			continue
		}
		select {
		case w.fresh <- records:
		default:
		}
	}
}

// maxLoad bounds the events of one partition that are taken and not handled.
const maxLoad = 1024

// outcome is how handling events ended.
type outcome struct {
	handled []events.Recorded[events.Event]
	again   []events.Recorded[events.Event] // handle them once more now
	failed  []events.Recorded[events.Event] // and these after a pause
}

// worker runs one partition.
type worker struct {
	s         *subscriber
	partition log.Partition
	lost      <-chan struct{} // closed when the partition may be another's
	feed      *feed
	acks      chan outcome
	fresh     chan []*events.Record
	saved     Resume
	again     map[domain.StreamID]Requeue // handed out again and not answered
}

func (w *worker) run(ctx context.Context) error {
	defer w.save(context.WithoutCancel(ctx))
	reader, err := open(ctx, w.s.opts.Log, w.partition, w.feed.resume, w.s.opts.Epoch())
	if err != nil {
		return err
	}
	defer func() {
		if err := reader.Close(); err != nil {
			w.s.opts.Logger.Debug("close reader", "partition", w.partition.String(), "error", err)
		}
	}()
	saves := time.NewTicker(w.s.opts.Save)
	defer saves.Stop()
	var head *message.Message
	for {
		if w.feed.load() < maxLoad {
			if err := w.pull(ctx, reader); err != nil {
				return err
			}
		}
		if head == nil {
			if batch := w.feed.batch(max(1, w.s.reaction.Together)); len(batch) > 0 {
				head = w.message(ctx, batch)
			}
		}
		out, more := w.s.out, reader.Ready()
		if head == nil {
			out = nil
		}
		if w.feed.load() >= maxLoad {
			more = nil
		}
		select {
		case out <- head:
			head = nil
		case o := <-w.acks:
			w.finish(ctx, o)
		case records := <-w.fresh:
			for _, r := range records {
				w.feed.express(r)
			}
		case <-more:
		case <-saves.C:
			w.save(ctx)
			if err := w.tend(ctx); err != nil && ctx.Err() == nil {
				w.s.opts.Logger.Warn("look for requeued events", "handler", w.s.reaction.Name, "partition", w.partition.String(), "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// open reads on from the resume point; where the offset no longer means
// anything, from the first record, and the feed drops what it has had.
func open(ctx context.Context, l log.Log, p log.Partition, at Resume, epoch int) (log.Reader, error) {
	offset := int64(-1)
	if at.Offset > 0 && at.Epoch == epoch {
		last, ok, err := l.Last(ctx, p)
		if err != nil {
			return nil, err
		}
		if !ok || log.Resumes(last, at.Offset, at.Position) {
			offset = at.Offset
		}
	}
	r, err := l.Open(ctx, p, offset)
	if errors.Is(err, log.ErrOffsetOutOfRange) {
		r, err = l.Open(ctx, p, -1)
	}
	return r, err
}

func (w *worker) pull(ctx context.Context, reader log.Reader) error {
	messages, err := reader.Poll(maxLoad)
	if err != nil {
		return err
	}
	for _, m := range messages {
		err := w.feed.take(ctx, m)
		if poison := (*PoisonError)(nil); errors.As(err, &poison) {
			err = w.s.opts.bury(w.s.reaction.Name, poison.Record.Envelope, poison.Record.Data, poison.Err)
		}
		if paused := (*PausedError)(nil); errors.As(err, &paused) {
			w.s.opts.Logger.Error(err.Error(), "handler", w.s.reaction.Name, "partition", w.partition.String(), "position", paused.Position)
			w.s.opts.paused(w.s.reaction.Name, paused)
			<-ctx.Done() // other partitions go on; an upgraded process takes this one over
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish takes an outcome; failed events are handed out again after a pause.
func (w *worker) finish(ctx context.Context, o outcome) {
	for _, e := range o.handled {
		w.feed.ack(e)
		w.settleRequeue(ctx, e)
	}
	for _, e := range o.again {
		w.feed.again(e)
	}
	if len(o.failed) > 0 {
		go func() {
			if wait(ctx, w.s.opts.Retry) {
				w.report(ctx, outcome{again: o.failed})
			}
		}()
	}
}

func (w *worker) report(ctx context.Context, o outcome) {
	select {
	case w.acks <- o:
	case <-ctx.Done():
	}
}

func (w *worker) message(ctx context.Context, batch []events.Recorded[events.Event]) *message.Message {
	m := message.NewMessage(string(batch[0].ID()), nil)
	m.SetContext(context.WithValue(ctx, deliveryKey{}, &delivery{worker: w, events: batch}))
	return m
}

// delivery is what a message carries: events of different streams.
type delivery struct {
	worker *worker
	events []events.Recorded[events.Event]
	failed []events.Recorded[events.Event] // beside others that did not
}

func deliveryOf(m *message.Message) *delivery {
	return m.Context().Value(deliveryKey{}).(*delivery)
}

// handle reacts to the events. Of several, those that fail are handed out again by
// themselves, and only then come to what the middleware does about it.
func (d *delivery) handle(ctx context.Context) error {
	handle := d.worker.s.reaction.Handle
	if len(d.events) == 1 {
		return handle(ctx, d.events[0])
	}
	for _, e := range d.events {
		if !succeeds(func() error { return handle(ctx, e) }) {
			d.failed = append(d.failed, e)
		}
	}
	return nil
}

// succeeds also takes a panic for a failure: it will come again.
func succeeds(do func() error) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return do() == nil
}

// outcome is what came of the events, given what the middleware made of them.
func (d *delivery) outcome(err error) outcome {
	if err != nil {
		return outcome{failed: d.events}
	}
	if len(d.failed) == 0 {
		return outcome{handled: d.events}
	}
	return outcome{again: d.failed, handled: slices.DeleteFunc(slices.Clone(d.events), func(e events.Recorded[events.Event]) bool {
		return slices.ContainsFunc(d.failed, func(f events.Recorded[events.Event]) bool { return f.Position == e.Position })
	})}
}

// save keeps the resume point, unless another may be further already.
func (w *worker) save(ctx context.Context) {
	if w.feed.resume == w.saved {
		return
	}
	select {
	case <-w.lost:
		return
	default:
	}
	failpoint.Hit("reaction.before_save")
	if err := w.s.opts.Resumes.Save(ctx, w.s.reaction.Name, w.partition, w.feed.resume); err != nil {
		if ctx.Err() == nil { // else it is saved once more at the end
			w.s.opts.Logger.Warn("save resume point", "handler", w.s.reaction.Name, "partition", w.partition.String(), "error", err)
		}
		return
	}
	failpoint.Hit("reaction.after_save")
	w.saved = w.feed.resume
}

// wait pauses, and reports whether the context still stands.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var _ message.Subscriber = (*subscriber)(nil)

package reaction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/eventstore"
	"github.com/hishamos/hishamos/internal/failpoint"
	"github.com/hishamos/hishamos/internal/log"
)

// Session is a set of locks that are lost together; see package lock.
type Session interface {
	Try(ctx context.Context, name string) (bool, error)
	Lost() <-chan struct{}
	Close(ctx context.Context) error
}

// Resumes keeps resume points.
type Resumes interface {
	// Load returns false when there is none, or it was lost.
	Load(ctx context.Context, reaction string, p log.Partition) (at Resume, ok bool, err error)
	Save(ctx context.Context, reaction string, p log.Partition, at Resume) error
}

// Options are what reactions need to run. All fields but the durations are
// required.
type Options struct {
	Log        log.Log
	Store      eventstore.Reader
	Lock       func(context.Context) (Session, error)
	Resumes    Resumes
	Partitions int
	Epoch      func() int
	Logger     *slog.Logger
	// Deployed returns where a reaction begins, as its ReactionDeployed event
	// says, and whether this call appended that event.
	Deployed func(ctx context.Context, name string) (from domain.Position, fresh bool, err error)
	// DeadLetters takes events that a reaction could not handle.
	DeadLetters message.Publisher
	// Requeues, if not nil, holds what is to be handled again.
	Requeues Requeues
	// Paused, if not nil, is told of partitions that wait for an upgrade.
	Paused func(reaction string, p *PausedError)

	Retry    time.Duration // between attempts at an event, and at taking partitions; 0: 1 s
	Reassign time.Duration // between looks for free partitions; 0: 500 ms
	Save     time.Duration // between saves of resume points; 0: 500 ms
}

// Runner runs reactions.
type Runner struct {
	opts        Options
	router      *message.Router
	subscribers []*subscriber
}

// maxRetries is how often an event is tried again at once, before it is dead
// (for a definite error) or tried again later (for a passing one).
const maxRetries = 3

// NewRunner deploys reactions that are new and prepares the router.
func NewRunner(ctx context.Context, opts Options, reactions ...Reaction) (*Runner, error) {
	if opts.Retry == 0 {
		opts.Retry = time.Second
	}
	if opts.Reassign == 0 {
		opts.Reassign = 500 * time.Millisecond
	}
	if opts.Save == 0 {
		opts.Save = 500 * time.Millisecond
	}
	router, err := message.NewRouter(message.RouterConfig{CloseTimeout: 5 * time.Second}, watermill.NewSlogLogger(quiet(opts.Logger)))
	if err != nil {
		return nil, fmt.Errorf("make router: %w", err)
	}
	r := &Runner{opts: opts, router: router}
	for _, reaction := range reactions {
		from, err := deploy(ctx, opts, reaction)
		if err != nil {
			return nil, fmt.Errorf("deploy %s: %w", reaction.Name, err)
		}
		s := &subscriber{opts: opts, reaction: reaction, from: from, out: make(chan *message.Message), owned: make(map[log.Partition]*worker)}
		r.subscribers = append(r.subscribers, s)
		h := router.AddConsumerHandler(reaction.Name, reaction.Name, s, func(m *message.Message) error {
			return deliveryOf(m).handle(m.Context())
		})
		h.AddMiddleware(
			report,
			bury(&opts, reaction.Name),
			middleware.Retry{
				MaxRetries: maxRetries, InitialInterval: 50 * time.Millisecond, MaxInterval: time.Second, Multiplier: 3,
				ShouldRetry: func(p middleware.RetryParams) bool { return !cancelled(p.Err) },
			}.Middleware,
			middleware.Recoverer,
		)
	}
	return r, nil
}

// deploy gives a new reaction its resume points at once: without one, a
// reaction takes it for lost and begins at the head.
func deploy(ctx context.Context, opts Options, reaction Reaction) (domain.Position, error) {
	from, fresh, err := opts.Deployed(ctx, reaction.Name)
	if err != nil || !fresh {
		return from, err
	}
	for _, topic := range reaction.Topics() {
		for i := range opts.Partitions {
			p := log.Partition{Topic: topic, ID: int32(i)}
			if err := opts.Resumes.Save(ctx, reaction.Name, p, Resume{Position: from}); err != nil {
				return from, err
			}
		}
	}
	return from, nil
}

// Run serves until the context ends.
func (r *Runner) Run(ctx context.Context) error { return r.router.Run(ctx) }

// Partitions is how many partitions this process serves now, over all reactions.
func (r *Runner) Partitions() int {
	n := 0
	for _, s := range r.subscribers {
		s.mu.Lock()
		n += len(s.owned)
		s.mu.Unlock()
	}
	return n
}

// Express hands fresh commits to the reactions that own their partitions here.
// The Kafka copies are then recognised and dropped.
func (r *Runner) Express(records []events.Record) {
	parts := make(map[log.Partition][]*events.Record)
	for i := range records {
		rec := &records[i]
		p := log.Partition{Topic: log.TopicOf(rec.Type), ID: log.PartitionOf(string(rec.Stream), r.opts.Partitions)}
		parts[p] = append(parts[p], rec)
	}
	for _, s := range r.subscribers {
		s.express(parts)
	}
}

// report tells the partition how handling ended. It is the outermost
// middleware, so it sees what retries and the dead-letter topic made of it.
func report(h message.HandlerFunc) message.HandlerFunc {
	return func(m *message.Message) ([]*message.Message, error) {
		d := deliveryOf(m)
		failpoint.Hit("reaction.before_handle")
		_, err := h(m)
		failpoint.Hit("reaction.after_handle")
		d.worker.report(m.Context(), d.outcome(err))
		return nil, nil
	}
}

// bury sends events that failed for good to the dead-letter topic. A passing
// failure is left to be tried again, however long it lasts.
func bury(opts *Options, reaction string) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			_, err := h(m)
			if err == nil || cancelled(err) {
				return nil, err
			}
			e := deliveryOf(m).events[0] // of several none fails here
			opts.Logger.Error("reaction failed", "handler", reaction, "stream", e.Stream, "position", e.Position, "error", err)
			if passing(err) {
				return nil, err
			}
			page, readErr := opts.Store.ReadStream(m.Context(), e.Stream, e.Sequence-1, 1)
			if readErr == nil && len(page) == 0 {
				readErr = fmt.Errorf("dead-letter %s: the store lacks it", e.ID())
			}
			if readErr != nil {
				return nil, errors.Join(err, readErr)
			}
			return nil, opts.bury(reaction, page[0].Envelope, page[0].Data, err)
		}
	}
}

// passing reports whether trying again later may help without any change.
func passing(err error) bool {
	var known *domain.Error
	if !errors.As(err, &known) {
		return false
	}
	switch known.Kind {
	case domain.Unavailable, domain.Unknown, domain.Exhausted:
		return true
	}
	return false
}

func cancelled(err error) bool { return errors.Is(err, context.Canceled) }

// DeadLetterTopic is where a reaction's dead letters go.
func DeadLetterTopic(reaction string) string { return log.Prefix + "dead." + reaction }

func (o *Options) bury(reaction string, e events.Envelope, data []byte, cause error) error {
	m := message.NewMessage(string(e.ID()), data)
	for _, a := range e.Attributes() {
		if a.Present {
			m.Metadata.Set("ce_"+a.Name, a.Value)
		}
	}
	m.Metadata.Set("cause", cause.Error())
	m.Metadata.Set("handler", reaction)
	if err := o.DeadLetters.Publish(DeadLetterTopic(reaction), m); err != nil {
		return fmt.Errorf("dead-letter %s: %w", e.ID(), err)
	}
	return nil
}

func (o *Options) paused(reaction string, p *PausedError) {
	if o.Paused != nil {
		o.Paused(reaction, p)
	}
}

// quiet keeps watermill's own messages below warnings out of the log: one line
// per message and handler is trace, not news.
func quiet(l *slog.Logger) *slog.Logger {
	return slog.New(levelHandler{l.Handler()})
}

type levelHandler struct{ slog.Handler }

func (h levelHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return levelHandler{h.Handler.WithAttrs(as)}
}

func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name)}
}

func (h levelHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

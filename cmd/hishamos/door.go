package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/hishamos/hishamos/api"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/domain/expr"
	"github.com/hishamos/hishamos/internal/auth"
	"github.com/hishamos/hishamos/internal/projection"
	"github.com/hishamos/hishamos/library"
	"github.com/hishamos/hishamos/projections"
)

// api puts the HTTP door together.
func (n *node) api(ctx context.Context) (http.Handler, error) {
	q := queries{
		as:     func(t domain.Tenant) projections.DB { return n.rows.Of(t) },
		tokens: n.rows.Everyone(), // a secret says whose it is
		reads:  n.readModels,
		flows:  newFlows(),
	}
	return n.doorFor(ctx, q, auth.New(q, auth.Options{}))
}

// doorFor puts it together from what answers questions and who lets in.
func (n *node) doorFor(ctx context.Context, q queries, who *auth.Authenticator) (http.Handler, error) {
	settings, err := n.store.Settings(ctx)
	if err != nil {
		return nil, err
	}
	// It only tells the cursors of one list from those of another; it guards no
	// secret.
	digestKey := sha256.Sum256([]byte("hishamos cursor\x00" + settings.LogID))
	wake, done := n.wakes.listen()
	go func() {
		defer done()
		n.hub.Run(ctx, wake)
	}()
	return api.New(api.Options{
		Dispatcher: n.commands, Tracer: n.tracer, Runs: q, Tasks: q, Workflows: q, Usage: q, Tokens: q, Files: q, Uploads: uploads{n}, Contents: contents{n}, Erasures: contents{n}, Library: n.library, Checks: []library.Check{expr.Check},
		Waiter: waiter{n}, Hub: n.hub, Auth: who, Metrics: n.metrics,
		Committed: n.committedBefore, DigestKey: digestKey[:], RequestKey: n.requestKey, Log: n.logger, Clock: clock{}, Missing: n.missing, Degraded: n.deliveries.failing, Done: ctx.Done(),
		Epoch: func() uint32 { return uint32(settings.Generation) }, Version: version, LoopbackTrusted: true,
		ScrapeHash: n.scrapeHash(), TokenRate: n.cfg.TokenRequests, TenantRate: n.cfg.TenantRequests,
		MaxBody: max(1<<20, int64(n.cfg.ValueLimit)+64<<10), UploadLimit: int64(n.cfg.UploadLimit),
	}), nil
}

// requestKey keys the digests by which a repeated request is told from another
// under the same id. They end with the tenant's key.
func (n *node) requestKey(ctx context.Context, t domain.Tenant) ([]byte, error) {
	return n.ring.Derived(ctx, t, "request digest")
}

// scrapeHash is the hash of the secret for collecting metrics, if there is one.
func (n *node) scrapeHash() string {
	if !n.cfg.MetricsToken.Set() {
		return ""
	}
	return auth.Hash(n.cfg.MetricsToken.Reveal())
}

// readModels knows how far the read models are: the runner that fills them, if
// it is in this process and runs, else one that only asks the database.
func (n *node) readModels() *projection.Runner {
	if r := n.filling.Load(); r != nil {
		return r
	}
	return n.asking
}

// committedBefore finds a command that was carried out.
func (n *node) committedBefore(ctx context.Context, t domain.Tenant, id domain.CommandID) (commands.Receipt, []byte, bool, error) {
	r, body, ok, err := n.queries.Committed(ctx, t, id)
	if err != nil || !ok || len(r.Streams) == 0 {
		return commands.Receipt{}, nil, false, err
	}
	return commands.Receipt{
		Stream: r.Streams[0].Stream, Version: r.Streams[0].Version, First: r.First, Last: r.Last,
		Recorded: r.Recorded, Replayed: true,
	}, body, true, nil
}

// waiter answers how far the log has been carried.
type waiter struct{ n *node }

// logPoll is how often the published mark is looked at while somebody waits.
const logPoll = 5 * time.Millisecond

// Logged implements api.Waiter.
func (w waiter) Logged(ctx context.Context, p domain.Position) error {
	for {
		at, err := w.n.mark(ctx)
		if err == nil && at.Position >= p {
			return nil
		}
		if !wait(ctx, logPoll) {
			return &domain.Error{
				Kind: domain.Unavailable, Code: "log.behind",
				Message: "Kafka has not got the event yet; it is safe in the store", Fix: "ask again, or do without hishamos-after=logged",
			}
		}
	}
}

// Projected implements api.Waiter.
func (w waiter) Projected(ctx context.Context, p domain.Position) error {
	for _, d := range projections.All() {
		if err := w.n.readModels().WaitFor(ctx, d.Name, p); err != nil {
			return err
		}
	}
	return nil
}

// Reached implements api.Waiter.
func (w waiter) Reached(ctx context.Context) (domain.Position, error) {
	low := ^domain.Position(0)
	for _, d := range projections.All() {
		at, err := w.n.readModels().Position(ctx, d.Name)
		if err != nil {
			return 0, err
		}
		low = min(low, at)
	}
	return low, nil
}

// At implements api.Waiter.
func (w waiter) At(ctx context.Context, instant time.Time) (domain.Position, error) {
	return w.n.moment(ctx, instant)
}

// moment is the position of the last event recorded at or before an instant.
// Recorded times never fall, so it is found by halving.
func (n *node) moment(ctx context.Context, instant time.Time) (domain.Position, error) {
	head, err := n.queries.Head(ctx)
	if err != nil {
		return 0, err
	}
	low, high := domain.Position(0), head.Position // recorded(low) ≤ instant < recorded(high+1)
	for low < high {
		middle := low + (high-low+1)/2
		recorded, err := n.queries.Recorded(ctx, middle)
		if err != nil {
			return 0, fmt.Errorf("find the position at %s: %w", instant, err)
		}
		if recorded.After(instant) {
			high = middle - 1
		} else {
			low = middle
		}
	}
	return low, nil
}

// asked is a part that was asked whether it is there.
type asked struct {
	name string
	err  error
}

// others asks what the program stands on beside the event store.
func (n *node) others(ctx context.Context) []asked {
	out := []asked{{"keys", n.ring.Check(ctx)}, {"blobs", n.blobs.Check(ctx)}}
	if n.log != nil { // else it is about to be reached
		_, err := n.log.Topics(ctx, "hishamos.")
		out = append(out, asked{"kafka", err})
	}
	return out
}

// missing names the parts that do not answer.
func (n *node) missing(ctx context.Context) []string {
	var out []string
	if _, err := n.queries.Head(ctx); err != nil {
		out = append(out, "postgres")
	}
	for _, p := range n.others(ctx) {
		if p.err != nil {
			out = append(out, p.name)
		}
	}
	if !n.built.Load() {
		built, err := n.asking.Built(ctx)
		n.built.Store(built)
		if !built && err == nil { // else it is Postgres
			out = append(out, "read models")
		}
	}
	return out
}

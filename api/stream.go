package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/live"
)

// sseType is the content type of server-sent events.
const sseType = "text/event-stream"

// errStreamEnd ends a stream in good order.
var errStreamEnd = errors.New("stream is at its end")

// streaming adapts a method that opens a stream: it answers with an error, or with
// the function that writes the stream.
func streaming[I any](f func(*server, context.Context, *I) (func(context.Context, *sse) error, error)) func(*server, huma.Operation) {
	return func(s *server, op huma.Operation) {
		op.Responses["200"] = &huma.Response{
			Description: "Server-sent events. Come back with Last-Event-ID to go on without a gap.",
			Content:     map[string]*huma.MediaType{sseType: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}
		op.Responses["204"] = &huma.Response{Description: "Nothing more will happen: do not come back"}
		huma.Register(s.huma, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
			write, err := f(s, ctx, in)
			if errors.Is(err, errStreamEnd) {
				return &huma.StreamResponse{Body: func(h huma.Context) { h.SetStatus(http.StatusNoContent) }}, nil
			}
			if err != nil {
				return nil, s.problemOf(ctx, err)
			}
			return &huma.StreamResponse{Body: func(h huma.Context) { s.serve(humagin.Unwrap(h), write) }}, nil
		})
	}
}

// serve writes a stream until it ends, the client goes, or the server stops.
func (s *server) serve(g *gin.Context, write func(context.Context, *sse) error) {
	defer s.Metrics.Streaming()()
	ctx, cancel := context.WithCancel(g.Request.Context())
	defer cancel()
	defer s.untilDone(cancel)()
	out := &sse{w: g.Writer, control: http.NewResponseController(g.Writer), timeout: s.WriteTimeout}
	h := g.Writer.Header()
	h.Set("Content-Type", sseType)
	h.Set("X-Accel-Buffering", "no") // proxies must not hold events back
	g.Status(http.StatusOK)
	if out.comment("stream") != nil {
		return
	}
	if err := write(ctx, out); err != nil && ctx.Err() == nil && !errors.Is(err, errStreamEnd) && !errors.Is(err, errClientGone) {
		// The status is sent: all that is left is to say so and to end. The client
		// comes back with its last id.
		s.problemOf(ctx, err)
		if out.comment("interrupted, come back") != nil {
			return
		}
	}
}

// untilDone calls a function when the server begins to shut down, until the
// returned function is called.
func (s *server) untilDone(f func()) (stop func()) {
	if s.Done == nil {
		return func() {}
	}
	stopped := make(chan struct{})
	go func() {
		select {
		case <-s.Done:
			f()
		case <-stopped:
		}
	}()
	return func() { close(stopped) }
}

// errClientGone says that the client went away or does not take what is sent.
var errClientGone = errors.New("client is gone")

// sse writes server-sent events. A client that does not take a write in time is
// cut off; it comes back with the id of the last event it got.
type sse struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (o *sse) write(frame string) error {
	setDeadline(o.control.SetWriteDeadline, time.Now().Add(o.timeout))
	if _, err := o.w.Write([]byte(frame)); err != nil {
		return errClientGone
	}
	if err := o.control.Flush(); err != nil {
		return errClientGone
	}
	return nil
}

// event sends one event. JSON has no line breaks, so it is one data line.
func (o *sse) event(name, id string, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", name, err)
	}
	frame := "event: " + name + "\n"
	if id != "" {
		frame += "id: " + id + "\n"
	}
	return o.write(frame + "data: " + string(b) + "\n\n")
}

func (o *sse) comment(text string) error { return o.write(": " + text + "\n\n") }

// mark moves the client's last event id without an event.
func (o *sse) mark(id string) error { return o.write(": beat\nid: " + id + "\n\n") }

// follow passes on what a feed returns, and a heartbeat when there is nothing.
func (s *server) follow(ctx context.Context, f *live.Feed, each func([]events.Record) error, beat func() error) error {
	for {
		waiting, cancel := context.WithTimeout(ctx, s.Heartbeat)
		records, err := f.Next(waiting)
		quiet := waiting.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case err == nil:
			err = each(records)
		case quiet:
			err = beat()
		}
		if err != nil {
			return err
		}
	}
}

type streamRunInput struct {
	Run    string `path:"run" maxLength:"80" doc:"Id of the run" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
	After  string `query:"after" pattern:"^[0-9]{1,19}$" doc:"Sequence to begin after"`
	LastID string `header:"Last-Event-ID" pattern:"^[0-9]{1,19}$" doc:"Where an earlier stream broke off"`
}

// streamRun sends every event of a run (event, id = sequence), the state of the
// run after each group of them (run), and at the end, end.
func (s *server) streamRun(ctx context.Context, in *streamRunInput) (func(context.Context, *sse) error, error) {
	stream, err := s.runStream(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	after := resumeAt(resumeAt(0, in.After), in.LastID)
	tenant := callOf(ctx).principal.Tenant
	seen, err := s.Hub.ReadStream(ctx, tenant, stream, domain.Sequence(max(after, 1)-1), 1)
	switch {
	case err != nil:
		return nil, err
	case len(seen) == 0 && after > 0:
		return nil, errBehindEnd
	case len(seen) == 0:
		return nil, errNotFound
	case after > 0 && closes(seen[0]):
		return nil, errStreamEnd // 204 tells browsers not to come back
	}
	opens := s.opens(ctx)
	return func(ctx context.Context, out *sse) error {
		f := s.Hub.FollowStream(tenant, stream, domain.Sequence(after))
		defer f.Close()
		return s.follow(ctx, f, func(records []events.Record) error {
			last := records[len(records)-1]
			for _, r := range records {
				e, err := opens.fresh(ctx).event(r)
				if err != nil {
					return err
				}
				if err := out.event("event", strconv.FormatUint(uint64(r.Sequence), 10), e); err != nil {
					return err
				}
			}
			if run, ok := s.runAfter(ctx, tenant, in.Run, last.Position); ok {
				if err := opens.fresh(ctx).run(tenant, &run); err != nil {
					return err
				}
				if err := out.event("run", "", run); err != nil {
					return err
				}
			}
			if !closes(last) {
				return nil
			}
			if err := out.event("end", "", struct{}{}); err != nil {
				return err
			}
			return errStreamEnd
		}, func() error { return out.comment("beat") })
	}, nil
}

// runAfter reads a run once the read models reflect a position. It is missing
// from the stream, never wrong, when they do not in time.
func (s *server) runAfter(ctx context.Context, t domain.Tenant, run string, p domain.Position) (v1.Run, bool) {
	waiting, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	if s.Waiter.Projected(waiting, p) != nil {
		return v1.Run{}, false
	}
	view, err := s.Runs.Run(ctx, t, run, 0)
	return view, err == nil
}

func closes(r events.Record) bool { return slices.Contains(closing, r.Type) }

// closing are the types of events after which a stream waits for nothing.
var closing = func() (names []string) {
	for name, t := range events.Types() {
		if t.Closes {
			names = append(names, name)
		}
	}
	return names
}()

type streamLogInput struct {
	LogScope
	Resume
	Type []string `query:"type" nullable:"false" maxItems:"20" doc:"Wire names such as run.started, or contexts such as run"`
}

// streamLog sends every event that the caller may see (event, id = position).
// Heartbeats carry the position reached, so that a client that filters does not
// begin again far behind.
func (s *server) streamLog(ctx context.Context, in *streamLogInput) (func(context.Context, *sse) error, error) {
	filter, err := in.visible(callOf(ctx), in.Type)
	if err != nil {
		return nil, err
	}
	after, err := s.begin(ctx, in.Resume)
	if err != nil {
		return nil, err
	}
	opens := s.opens(ctx)
	return func(ctx context.Context, out *sse) error {
		f := s.Hub.Follow(filter, after)
		defer f.Close()
		return s.follow(ctx, f, func(records []events.Record) error {
			for _, r := range records {
				e, err := opens.fresh(ctx).event(r)
				if err != nil {
					return err
				}
				if err := out.event("event", strconv.FormatUint(uint64(r.Position), 10), e); err != nil {
					return err
				}
			}
			return nil
		}, func() error { return out.mark(strconv.FormatUint(uint64(f.Reached()), 10)) })
	}, nil
}

// resumeAt prefers the id of a broken stream, if there is one, to the beginning
// that was asked for: browsers come back with the same address.
func resumeAt(after v1.Ordinal, lastID string) v1.Ordinal {
	var last v1.Ordinal
	if lastID != "" && last.UnmarshalText([]byte(lastID)) == nil {
		return last
	}
	return after
}

package hishamos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hishamos/hishamos/api/v1"
)

// Update is one message of a run's stream: an event, or the run as it stands
// after the events before it.
type Update struct {
	Event *v1.Event
	Run   *v1.Run
}

// FollowRun passes on the events and states of a run until it has ended, the
// function returns an error, or the context ends. It comes back after broken
// connections and goes on where it was.
func (c *Client) FollowRun(ctx context.Context, id string, after v1.Ordinal, each func(Update) error) error {
	q := url.Values{}
	q.Set("after", after.String())
	return c.follow(ctx, escape("runs", id, "stream"), q, func(m message) error {
		var u Update
		var into any
		switch m.name {
		case "event":
			u.Event = new(v1.Event)
			into = u.Event
		case "run":
			u.Run = new(v1.Run)
			into = u.Run
		case "end":
			return io.EOF
		default:
			return nil // a newer server says more
		}
		if err := json.Unmarshal([]byte(m.data), into); err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		return each(u)
	})
}

// FollowRuns passes on every run that changes, in any of some states (none: all),
// after a position; nil: from now on. It ends and comes back like FollowRun.
func (c *Client) FollowRuns(ctx context.Context, after *v1.Ordinal, states []string, each func(v1.Run) error) error {
	q := from(after)
	set(q, "state", states...)
	return c.follow(ctx, escape("runs", "stream"), q, only("run", each))
}

// FollowTasks passes on every task that changes, of an agent (empty: of all),
// after a position; nil: from now on. It ends and comes back like FollowRun.
func (c *Client) FollowTasks(ctx context.Context, after *v1.Ordinal, agent string, each func(v1.Task) error) error {
	q := from(after)
	set(q, "agent", agent)
	return c.follow(ctx, escape("tasks", "stream"), q, only("task", each))
}

func from(after *v1.Ordinal) url.Values {
	q := url.Values{}
	if after != nil {
		q.Set("after", after.String())
	}
	return q
}

// only decodes the messages of one name; a newer server may send others.
func only[T any](name string, each func(T) error) func(message) error {
	return func(m message) error {
		if m.name != name {
			return nil
		}
		var v T
		if err := json.Unmarshal([]byte(m.data), &v); err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		return each(v)
	}
}

// Wait follows a run until it has ended and returns it with its results.
func (c *Client) Wait(ctx context.Context, id string) (v1.Run, error) {
	if err := c.FollowRun(ctx, id, 0, func(Update) error { return nil }); err != nil {
		return v1.Run{}, err
	}
	return c.Run(ctx, id, "")
}

// FollowLog passes on the events of the log after a position; nil: after its
// end.
func (c *Client) FollowLog(ctx context.Context, after *v1.Ordinal, types []string, each func(v1.Event) error) error {
	q := from(after)
	set(q, "type", types...)
	return c.follow(ctx, escape("log", "stream"), q, func(m message) error {
		if m.name != "event" {
			return nil
		}
		var e v1.Event
		if err := json.Unmarshal([]byte(m.data), &e); err != nil {
			return fmt.Errorf("read the stream: %w", err)
		}
		return each(e)
	})
}

// follow reads a stream, again and again from where it broke off. Io.EOF from
// the function ends it well.
func (c *Client) follow(ctx context.Context, path string, q url.Values, each func(message) error) error {
	lastID, failures, pause := "", 0, c.opts.Pause
	for {
		r := request{method: http.MethodGet, path: path, query: q, header: http.Header{"Accept": {"text/event-stream"}}}
		if lastID != "" {
			r.header.Set("Last-Event-Id", lastID)
		}
		response, err := c.send(ctx, r)
		switch {
		case err == nil && response.StatusCode == http.StatusNoContent:
			return response.Body.Close()
		case err == nil:
			var got bool
			got, err = read(response.Body, &lastID, each)
			response.Body.Close()
			if got {
				failures, pause = 0, c.opts.Pause
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil && !errors.Is(err, errBroken) {
				return err
			}
		case !passing(err):
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failures++; failures > c.opts.Tries {
			return &UnreachableError{Address: c.base.String(), Err: err}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// errBroken says that a stream ended without having been at its end.
var errBroken = errors.New("the stream broke off")

// message is one server-sent event.
type message struct{ name, data string }

// read passes on the messages of one connection and keeps the last id.
func read(body io.Reader, lastID *string, each func(message) error) (got bool, err error) {
	lines := bufio.NewReader(body)
	m, data, id := message{}, []string(nil), *lastID
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return got, errBroken
		}
		got = true
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			if data != nil {
				m.data = strings.Join(data, "\n")
				if err := each(m); err != nil {
					return got, err
				}
			}
			*lastID = id // only now: half an event is no event
			m, data = message{}, nil
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			m.name = value
		case "data":
			data = append(data, value)
		case "id":
			id = value
		}
	}
}

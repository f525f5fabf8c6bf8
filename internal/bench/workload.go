package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	hishamos "github.com/hishamos/hishamos/sdk/go"
)

// The steps of a run of each workload.
const (
	SequentialSteps = 10
	FanOutSteps     = 20
)

// Sequential is a workflow of no-op steps, one after another.
func Sequential(effect domain.EffectClass) domain.Definition {
	d := domain.Definition{ID: "bench-sequential-" + string(effect), Title: "One after another"}
	for i := range SequentialSteps {
		s := domain.Step{ID: fmt.Sprintf("s%d", i), Kind: domain.NoopStep, Effect: effect}
		if i > 0 {
			s.Needs = []string{d.Steps[i-1].ID}
		}
		d.Steps = append(d.Steps, s)
	}
	return d
}

// FanOut is a workflow of no-op steps side by side; the run joins them.
func FanOut() domain.Definition {
	d := domain.Definition{ID: "bench-fan-out", Title: "All at once"}
	for i := range FanOutSteps {
		d.Steps = append(d.Steps, domain.Step{ID: fmt.Sprintf("s%d", i), Kind: domain.NoopStep})
	}
	return d
}

// Dial returns a client that keeps as many connections as there are callers.
func Dial(address, token string) (*hishamos.Client, error) {
	return hishamos.New(address, token, hishamos.Options{
		HTTP:      &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}, Timeout: 2 * patience},
		UserAgent: "hishamos-bench", Apart: true,
	})
}

// patience is how long one run may take.
const patience = time.Minute

// Runs is how one run after the other of a workflow is done: one request each,
// answered when the run has ended.
func Runs(c *hishamos.Client, workflow string) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		r, err := c.StartRun(ctx, workflow, v1.StartRun{}, hishamos.Command{After: "ended", Wait: patience})
		switch {
		case err != nil:
			return err
		case r.Ended == nil:
			return fmt.Errorf("run %s has not ended within %s", r.ID, patience)
		case r.Ended.State != v1.RunCompleted:
			return fmt.Errorf("run %s ended as %s", r.ID, r.Ended.State)
		}
		return nil
	}
}

// Keep stores a workflow.
func Keep(ctx context.Context, c *hishamos.Client, d domain.Definition) error {
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode workflow: %w", err)
	}
	for end := time.Now().Add(patience); ; {
		_, err := c.CreateWorkflow(ctx, hishamos.Document{Text: text, Media: "application/json"}, hishamos.Command{After: "projected"})
		var p *hishamos.Error
		switch {
		case err == nil:
			return nil
		case errors.As(err, &p) && p.Status == http.StatusServiceUnavailable && time.Now().Before(end):
			continue // servers that were just started build their read models; the client has paused
		}
		return fmt.Errorf("store workflow %s: %w", d.ID, err)
	}
}

// Revisions is how callers write to one stream: each stores a version of one
// workflow, whatever the version is.
func Revisions(c *hishamos.Client, d domain.Definition) func(context.Context, int) error {
	return func(ctx context.Context, i int) error {
		next := d
		next.Title = fmt.Sprintf("Version %d", i)
		text, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("encode workflow: %w", err)
		}
		_, err = c.ReviseWorkflow(ctx, d.ID, hishamos.Document{Text: text, Media: "application/json"}, hishamos.Command{Match: "*"})
		return err
	}
}

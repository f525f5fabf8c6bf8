package worker

import (
	"encoding/json"
	"fmt"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
)

// The wire between a node that owns runs and workers elsewhere: HTTP with JSON,
// a bearer secret from the table of nodes, loopback or a private network.
// An empty batch is a heartbeat.
//
//	GET  /work/v1/leases?holder=H&slots=N   a stream of frames, one line each
//	POST /work/v1/results                   a batch; answered one by one
//
// The lease stream is the holder's life: when it ends, all its leases lapse.
const (
	leasesPath  = "/work/v1/leases"
	resultsPath = "/work/v1/results"
)

// keepAlive is how often an idle lease stream says something; a worker that
// hears nothing for deadAfter takes the node for dead.
const (
	keepAlive = 500 * time.Millisecond
	deadAfter = 3 * keepAlive
)

// frame is one line of the lease stream. An empty frame keeps it alive.
type frame struct {
	Work      *domain.Work `json:"work,omitempty"`
	Withdrawn *attempt     `json:"withdrawn,omitempty"`
}

type attempt struct {
	Stream  domain.StreamID `json:"stream"`
	Path    domain.StepPath `json:"path"`
	Attempt int             `json:"attempt"`
}

// batch is what a worker reports at once. Freed counts the slots that became
// free since the last batch.
type batch struct {
	Holder  string   `json:"holder"`
	Freed   int      `json:"freed"`
	Results []result `json:"results"`
}

// result is one reported attempt.
type result struct {
	Name        string          `json:"name"` // the command's name
	Body        json.RawMessage `json:"body"`
	TraceParent string          `json:"traceparent,omitempty"` // of the step at the worker
}

// answer is the outcome of one reported attempt; no error means settled.
type answer struct {
	Error *domain.Error `json:"error,omitempty"`
}

func encodeResult(c commands.Run) (result, error) {
	b, err := json.Marshal(c)
	return result{Name: c.CommandName(), Body: b}, err
}

// lenient reads whatever encoding/json writes, in half its time.
var lenient = jsonv2.JoinOptions(jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))

func decodeResult(r result) (commands.Run, error) {
	switch r.Name {
	case commands.BeginStep{}.CommandName():
		var c commands.BeginStep
		err := jsonv2.Unmarshal(r.Body, &c, lenient)
		return c, err
	case commands.CompleteStep{}.CommandName():
		var c commands.CompleteStep
		err := jsonv2.Unmarshal(r.Body, &c, lenient)
		return c, err
	case commands.FailStep{}.CommandName():
		var c commands.FailStep
		err := jsonv2.Unmarshal(r.Body, &c, lenient)
		return c, err
	}
	return nil, fmt.Errorf("result %q is not one a worker may report", r.Name)
}

package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/commands"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
	"github.com/hishamos/hishamos/internal/live"
)

type startRunInput struct {
	CommandHeaders
	Workflow string `path:"workflow" maxLength:"128" doc:"Id of the workflow" example:"two-step"`
	Body     v1.StartRun
}

// created is the answer to a command that made something.
type created struct {
	Location string `header:"Location" doc:"Where the new thing is"`
	Body     v1.Receipt
}

// started is the answer to the start of a run.
type started struct {
	Location string `header:"Location" doc:"Where the new thing is"`
	Body     v1.Started
}

func (s *server) startRun(ctx context.Context, in *startRunInput) (*started, error) {
	definition, err := s.startable(ctx, in.Workflow, in.Body.Version)
	var r done
	if err == nil {
		r, err = s.start(ctx, in.CommandHeaders, definition, in.Body)
	} else {
		r, err = s.refused(ctx, in.CommandHeaders, err)
	}
	if err != nil {
		return nil, err
	}
	return &started{Location: "/api/v1/runs/" + r.ID, Body: v1.Started{Receipt: r.Receipt, Ended: r.ended}}, nil
}

// start begins a run of a definition. A fresh id is made for every request; when
// the request turns out to be a repetition, the receipt names the run of the
// first time.
func (s *server) start(ctx context.Context, in CommandHeaders, d domain.Definition, b v1.StartRun) (done, error) {
	agents, templates, err := s.pins(d)
	if err != nil {
		return s.refused(ctx, in, err)
	}
	run := domain.RunID("run_" + s.IDs.NewID()).Stream(callOf(ctx).principal.Tenant)
	c := commands.StartRun{Run: run, Definition: d, Inputs: b.Inputs, Agents: agents, Templates: templates, Priority: b.Priority}
	files, err := s.referred(ctx, b.Inputs)
	if err == nil {
		err = s.useFiles(ctx, s.commandID(in), c, files)
	}
	if err != nil {
		return s.refused(ctx, in, err)
	}
	for _, file := range files {
		c.Files = append(c.Files, file.Entity())
	}
	p := parsePrefer(in.Prefer, s.Wait)
	if p.after != afterEnded || !callOf(ctx).principal.May(domain.RunRead) {
		return s.do(ctx, in, c, nil)
	}
	f, err := s.Hub.Watch(ctx, run.Tenant(), run, closing...)
	if err != nil {
		return done{}, err
	}
	defer func() { f.Close() }()
	r, err := s.do(ctx, in, c, nil)
	if err != nil {
		return r, err
	}
	if first := domain.RunID(r.ID).Stream(run.Tenant()); first != run { // a repetition
		f.Close()
		f = s.Hub.FollowStream(run.Tenant(), first, 0)
	}
	r.ended = s.awaitEnd(ctx, f, p.wait)
	return r, nil
}

// awaitEnd waits until a run has ended. If it does not in time, the answer says
// nothing of an end and the run goes on.
func (s *server) awaitEnd(ctx context.Context, f *live.Feed, patience time.Duration) *v1.RunEnd {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer s.untilDone(cancel)()
	for {
		records, err := f.Next(ctx)
		if err != nil {
			return nil
		}
		last := records[len(records)-1]
		if !closes(last) {
			continue
		}
		end := s.opens(ctx).end(last)
		if end != nil {
			h := callOf(ctx).header
			h.Set(headerPosition, encodePosition(s.Epoch(), last.Position))
			h.Set("Preference-Applied", "hishamos-after="+afterEnded)
		}
		return end
	}
}

// end is the end of a run that an event tells of; nil if this build does not know
// the event, or it cannot be opened now.
func (o *opening) end(r events.Record) *v1.RunEnd {
	e, err := events.Decode(r.Type, r.Version, r.Data)
	if err == nil {
		e, err = o.opened(r, e)
	}
	if err != nil {
		return nil
	}
	switch e := e.(type) {
	case events.RunCompleted:
		return &v1.RunEnd{State: v1.RunCompleted, Outputs: e.Outputs, Time: r.Time, Sealed: o.sealed}
	case events.RunFailed:
		fault := &v1.Fault{Code: e.Fault.Code, Message: e.Fault.Message}
		return &v1.RunEnd{State: v1.RunFailed, Fault: fault, FaultStep: string(e.Path), Time: r.Time, Sealed: o.sealed}
	case events.RunCancelled:
		return &v1.RunEnd{State: v1.RunCancelled, Reason: e.Reason, Time: r.Time, Sealed: o.sealed}
	}
	return nil
}

// pins finds the library versions that a run of a definition will use.
func (s *server) pins(d domain.Definition) (agents, templates map[string]domain.Ref, err error) {
	for i, step := range d.Steps {
		if step.Kind != domain.AgentStep {
			continue
		}
		if _, ok := s.Library.Agent(step.Agent); !ok {
			return nil, nil, unknownItem(i, "agent", step.Agent)
		}
		if _, ok := s.Library.Template(step.Template); !ok {
			return nil, nil, unknownItem(i, "template", step.Template)
		}
	}
	agents, templates = s.Library.Pins(d)
	return agents, templates, nil
}

type runInput struct {
	AtQuery
	Conditional
	Run string `path:"run" maxLength:"80" doc:"Id of the run" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
}

// Conditional is what reads of things with a version take. It is exported only
// because huma reads exported fields alone.
type Conditional struct {
	IfNoneMatch string `header:"If-None-Match" maxLength:"256" doc:"An ETag you have: 304 and no body if it is still the thing's"`
}

type versioned[T any] struct {
	ETag string `header:"ETag" doc:"Version of the thing"`
	Body T
}

// unlessKnown answers with a thing, or with 304 if the caller has it already.
func unlessKnown[T any](in Conditional, tag string, body T) (*versioned[T], error) {
	if matches(in.IfNoneMatch, tag) {
		return nil, &problem{Problem: v1.Problem{Status: http.StatusNotModified}, header: http.Header{"Etag": {tag}}}
	}
	return &versioned[T]{ETag: tag, Body: body}, nil
}

// matches compares an If-None-Match header by the weak comparison of RFC 9110.
func matches(header, tag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}

func (s *server) getRun(ctx context.Context, in *runInput) (*versioned[v1.Run], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	tenant := callOf(ctx).principal.Tenant
	run, err := s.Runs.Run(ctx, tenant, in.Run, at)
	if err == nil {
		err = s.opens(ctx).run(tenant, &run)
	}
	if err != nil {
		return nil, err
	}
	tag := etag(uint64(run.Version))
	// What a caller may read, and what is left to read, change by no event of the
	// run.
	if run.Erased {
		tag = strings.TrimSuffix(tag, `"`) + `-erased"`
	}
	if run.Sealed {
		tag = strings.TrimSuffix(tag, `"`) + `-sealed"`
	}
	return unlessKnown(in.Conditional, tag, run)
}

type listRunsInput struct {
	PageQuery
	AtQuery
	State     []string  `query:"state" nullable:"false" enum:"running,completed,failed,cancelled" doc:"Any of these states"`
	Workflow  string    `query:"workflow" maxLength:"128" doc:"Of this workflow"`
	StartedBy string    `query:"started_by" maxLength:"128" doc:"Started by this actor"`
	Since     time.Time `query:"since" doc:"Started at or after this instant"`
	Until     time.Time `query:"until" doc:"Started before this instant"`
	Sort      string    `query:"sort" enum:"started,-started" default:"-started" doc:"Order; - is descending"`
}

func (s *server) listRuns(ctx context.Context, in *listRunsInput) (*body[v1.RunList], error) {
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	f := RunFilter{
		States: in.State, Workflow: in.Workflow, StartedBy: in.StartedBy, Since: in.Since, Until: in.Until,
		OldestTop: in.Sort == "started", At: at,
	}
	p, err := s.page(in.PageQuery, "runs", f)
	if err != nil {
		return nil, err
	}
	items, next, err := s.Runs.Runs(ctx, callOf(ctx).principal.Tenant, f, p)
	if err != nil {
		return nil, err
	}
	opens := s.opens(ctx)
	for i := range items {
		if err := opens.fresh(ctx).run(callOf(ctx).principal.Tenant, &items[i]); err != nil {
			return nil, err
		}
	}
	return answer(v1.RunList{Items: list(items), Next: s.cursor("runs", f, next)}), nil
}

type runEventsInput struct {
	AtQuery
	Run   string `path:"run" maxLength:"80" doc:"Id of the run" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
	After string `query:"after" pattern:"^[0-9]{1,19}$" doc:"Sequence to read on from"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Events of a page"`
}

func (s *server) listRunEvents(ctx context.Context, in *runEventsInput) (*body[v1.EventList], error) {
	stream, err := s.runStream(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	at, err := s.asOf(ctx, in.At)
	if err != nil {
		return nil, err
	}
	after := resumeAt(0, in.After)
	records, err := s.Hub.ReadStream(ctx, callOf(ctx).principal.Tenant, stream, domain.Sequence(after), in.Limit)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 { // behind the end, or no such run
		if first, err := s.Hub.ReadStream(ctx, callOf(ctx).principal.Tenant, stream, 0, 1); err != nil || len(first) == 0 {
			return nil, orNotFound(err)
		}
	}
	whole := len(records)
	records = until(records, at)
	items := make([]v1.Event, len(records))
	opens := s.opens(ctx)
	for i, r := range records {
		if items[i], err = opens.fresh(ctx).event(r); err != nil {
			return nil, err
		}
	}
	page := v1.EventList{Items: items, Next: after, More: whole == in.Limit && len(records) == whole}
	if n := len(records); n > 0 {
		page.Next = v1.Ordinal(records[n-1].Sequence)
	}
	return answer(page), nil
}

// until leaves out what came after a position; 0: nothing.
func until(records []events.Record, at domain.Position) []events.Record {
	if i := slices.IndexFunc(records, func(r events.Record) bool { return at > 0 && r.Position > at }); i >= 0 {
		return records[:i]
	}
	return records
}

type cancelRunInput struct {
	CommandHeaders
	Run  string `path:"run" maxLength:"80" doc:"Id of the run" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
	Body *v1.CancelRun
}

func (s *server) cancelRun(ctx context.Context, in *cancelRunInput) (*body[v1.Receipt], error) {
	stream, err := s.runStream(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	c := commands.CancelRun{Run: stream}
	if in.Body != nil {
		c.Reason = in.Body.Reason
	}
	r, err := s.do(ctx, in.CommandHeaders, c, nil)
	if err != nil {
		return nil, err
	}
	return answer(r.Receipt), nil
}

// runStream is the stream of a run of the caller's tenant. An id that cannot be
// one is not found, like any other that is not there.
func (s *server) runStream(ctx context.Context, run string) (domain.StreamID, error) {
	stream := domain.RunID(run).Stream(callOf(ctx).principal.Tenant)
	if !stream.Valid() || stream.Kind() != "run" {
		return "", errNotFound
	}
	return stream, nil
}

func orNotFound(err error) error {
	if err != nil {
		return err
	}
	return errNotFound
}

// list makes a missing list an empty one: lists are never null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// eventOf is the wire form of an event as it is stored.
func eventOf(r events.Record) v1.Event {
	e := v1.Event{
		ID: string(r.ID()), Type: r.Type, DataSchema: r.DataSchema(), Stream: string(r.Stream),
		Sequence: v1.Ordinal(r.Sequence), Position: v1.Ordinal(r.Position), Time: r.Time, Recorded: r.Recorded,
		Correlation: r.Correlation, Causation: r.Causation, Command: string(r.Command), Hash: r.Hash.String(), Data: r.Data,
	}
	if r.Actor != "" {
		e.Actor = []byte(r.Actor)
	}
	return e
}

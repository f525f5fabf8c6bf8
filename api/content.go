package api

import (
	"context"
	"encoding/json"

	"github.com/hishamos/hishamos/api/v1"
	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/events"
)

// What stands in the place of a value that is not shown.
const (
	erasedText = "[erased]" // its key was destroyed
	sealedText = "[sealed]" // the caller may not read content
)

// opening opens the sealed values of one answer: by right, of the caller's
// streams. The first failure counts, and no answer is given then.
type opening struct {
	ctx      context.Context
	contents Contents
	may      bool
	erased   bool
	sealed   bool
	err      error
}

// opens begins an answer to the caller.
func (s *server) opens(ctx context.Context) *opening {
	return &opening{ctx: ctx, contents: s.Contents, may: callOf(ctx).principal.May(domain.ContentRead)}
}

// fresh begins another answer to the same caller.
func (o *opening) fresh(ctx context.Context) *opening {
	return &opening{ctx: ctx, contents: o.contents, may: o.may}
}

func (o *opening) text(stream domain.StreamID, event, field, value string) string {
	if o.contents == nil || o.err != nil || !o.contents.Sealed(value) {
		return value
	}
	if !o.may {
		o.sealed = true
		return sealedText
	}
	plain, erased, err := o.contents.Open(o.ctx, stream, event, field, value)
	if err != nil {
		o.err = err
		return ""
	}
	if erased {
		o.erased = true
		return erasedText
	}
	return string(plain)
}

// json opens a JSON value: sealed, it is a string.
func (o *opening) json(stream domain.StreamID, event, field string, value json.RawMessage) json.RawMessage {
	if o.contents == nil || len(value) < 2 || value[0] != '"' {
		return value
	}
	text := string(value[1 : len(value)-1])
	if !o.contents.Sealed(text) {
		return value
	}
	opened := o.text(stream, event, field, text)
	if opened == erasedText || opened == sealedText {
		return json.RawMessage(`"` + opened + `"`)
	}
	return json.RawMessage(opened)
}

func (o *opening) values(stream domain.StreamID, event, field string, values map[string]json.RawMessage) {
	for name, v := range values {
		values[name] = o.json(stream, event, field+"."+name, v)
	}
}

var (
	typeStarted    = events.RunStarted{}.EventType()
	typeCompleted  = events.RunCompleted{}.EventType()
	typeFailed     = events.RunFailed{}.EventType()
	typeCancelled  = events.RunCancelled{}.EventType()
	typeStepDone   = events.StepCompleted{}.EventType()
	typeStepFailed = events.StepFailed{}.EventType()
	typeIssued     = events.TokenIssued{}.EventType()
	typeRevoked    = events.TokenRevoked{}.EventType()
)

func (o *opening) run(t domain.Tenant, r *v1.Run) error {
	stream := domain.RunID(r.ID).Stream(t)
	o.values(stream, typeStarted, "inputs", r.Inputs)
	o.values(stream, typeCompleted, "outputs", r.Outputs)
	if r.Fault != nil {
		r.Fault.Message = o.text(stream, typeFailed, "fault.message", r.Fault.Message)
	}
	r.Reason = o.text(stream, typeCancelled, "reason", r.Reason)
	for i := range r.Steps {
		o.step(stream, &r.Steps[i])
	}
	r.Erased, r.Sealed = o.erased, o.sealed
	return o.err
}

func (o *opening) step(stream domain.StreamID, s *v1.Step) {
	s.Output = o.json(stream, typeStepDone, "output", s.Output)
	if s.Fault != nil {
		s.Fault.Message = o.text(stream, typeStepFailed, "fault.message", s.Fault.Message)
	}
}

func (o *opening) task(t domain.Tenant, task *v1.Task) error {
	o.step(domain.RunID(task.Run).Stream(t), &task.Step)
	task.Erased, task.Sealed = o.erased, o.sealed
	return o.err
}

// event is the wire form of an event, in the shape of today. Of a type that this
// build does not know it is as stored.
func (o *opening) event(r events.Record) (v1.Event, error) {
	out := eventOf(r)
	if o.contents == nil || r.KeyIDs == "" {
		return out, nil
	}
	e, err := events.Decode(r.Type, r.Version, r.Data)
	if err != nil {
		return out, nil
	}
	opened, err := o.opened(r, e)
	if err != nil {
		return out, err
	}
	version, data, err := events.Encode(opened)
	if err != nil {
		return out, err
	}
	out.DataSchema, out.Data = events.Envelope{Type: r.Type, Version: version}.DataSchema(), data
	out.Erased, out.Sealed = o.erased, o.sealed
	return out, nil
}

// opened is what a record's event holds.
func (o *opening) opened(r events.Record, e events.Event) (events.Event, error) {
	if o.contents == nil || r.KeyIDs == "" {
		return e, nil
	}
	return events.Rewrite(e, func(f events.Field, value []byte) ([]byte, error) {
		if f.JSON {
			return o.json(r.Stream, r.Type, f.Path, value), o.err
		}
		return []byte(o.text(r.Stream, r.Type, f.Path, string(value))), o.err
	})
}

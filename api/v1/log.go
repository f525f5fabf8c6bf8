package v1

import (
	"encoding/json"
	"time"
)

// Event is one event of the log. The names are those of its CloudEvents form.
type Event struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	DataSchema  string          `json:"dataschema"`
	Stream      string          `json:"stream"`
	Sequence    Ordinal         `json:"sequence"`
	Position    Ordinal         `json:"position"`
	Time        time.Time       `json:"time" doc:"When it happened"`
	Recorded    time.Time       `json:"recorded" doc:"When it was written"`
	Correlation string          `json:"correlation,omitempty"`
	Causation   string          `json:"causation,omitempty"`
	Command     string          `json:"command,omitempty"`
	Actor       json.RawMessage `json:"actor,omitempty" doc:"The chain of who acted, the originator first"`
	Hash        string          `json:"hash" doc:"SHA-256 over the previous hash and this event"`
	Data        json.RawMessage `json:"data"`
	Erased      bool            `json:"erased,omitempty" doc:"Some of it was erased for ever: such values are [erased]"`
	Sealed      bool            `json:"sealed,omitempty" doc:"It has content, which needs permission content:read: such values are [sealed]"`
}

// EventList is one page of events. Next is where to go on reading: the position
// (of the log) or sequence (of a run) up to which the page reaches, which may lie
// behind its last item when a filter left events out.
type EventList struct {
	Items []Event `json:"items" nullable:"false"`
	Next  Ordinal `json:"next" doc:"Send as after to go on"`
	More  bool    `json:"more" doc:"There was more to read"`
}

// Head is the end of the log.
type Head struct {
	Log        string    `json:"log" doc:"Identifier of the log"`
	Generation int       `json:"generation"`
	Position   Ordinal   `json:"position"`
	Hash       string    `json:"hash"`
	Recorded   time.Time `json:"recorded"`
}

//go:build next

package events

import (
	"bytes"
	"encoding/json"
)

// Level is the highest level of the log this build can write.
//
// The tag next makes a build that stands for the release after this one: a
// drill runs both side by side. Nothing of this file is in any other build.
const Level = 2

// RunNoted is an event type of the next build, which says nothing.
type RunNoted struct {
	Build string `json:"build"`
}

func (RunNoted) EventType() string { return "run.noted" }
func (RunNoted) isRun()            {}

// unstated is the reason of a cancellation that names none, in its next version:
// there the reason is never absent.
const unstated = "unstated"

func upcoming(m map[string]Type) map[string]Type {
	noted := of[RunNoted](since(2, func(Event) []Event { return nil }))
	cancelled := of[RunCancelled](closes, next(2, stateReason, leaveReason))
	m[noted.Name], m[cancelled.Name] = noted, cancelled
	return m
}

func stateReason(data json.RawMessage) (json.RawMessage, error) {
	var e RunCancelled
	if err := json.Unmarshal(data, &e); err != nil || e.Reason != "" {
		return data, err
	}
	return json.Marshal(RunCancelled{Reason: unstated})
}

func leaveReason(data json.RawMessage) (json.RawMessage, error) {
	if bytes.Contains(data, []byte(unstated)) {
		return json.RawMessage("{}"), nil
	}
	return data, nil
}

// Package v1 is the wire form of version 1 of the API: what requests and answers
// look like as JSON.
//
// It must not know how a request is carried out, nor that HTTP frameworks exist,
// so that clients can share it with the server. It imports domain and the
// standard library only.
//
// Start reading at run.go; numbers that do not fit a JavaScript number are
// decimal strings.
package v1

import (
	"strconv"

	"github.com/hishamos/hishamos/domain"
)

// Ordinal is a 64-bit number (a position, a sequence, a version); in JSON it is
// a decimal string.
type Ordinal uint64

// MarshalText implements encoding.TextMarshaler.
func (o Ordinal) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(o), 10), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Ordinal) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 10, 64)
	*o = Ordinal(v)
	return err
}

func (o Ordinal) String() string { return strconv.FormatUint(uint64(o), 10) }

// Ref names one version of a library item or workflow.
type Ref struct {
	ID      string `json:"id" doc:"Identifier"`
	Version int    `json:"version,omitempty" doc:"Version number; left out where only the id is known"`
}

// Fault is why something failed.
type Fault struct {
	Code    string `json:"code" doc:"Stable dotted code" example:"provider.timeout"`
	Message string `json:"message" doc:"One sentence"`
}

// Cost is what model calls consumed and cost.
type Cost struct {
	Tokens    domain.Tokens  `json:"tokens"`
	Amount    domain.NanoUSD `json:"amount" doc:"Nano-USD: 1000000000 are one US dollar"`
	Simulated bool           `json:"simulated,omitempty" doc:"No model was called and nothing is owed"`
	Unpriced  bool           `json:"unpriced,omitempty" doc:"The price table did not know a model that was called, so the amount is too small"`
}

// Receipt is the answer to a command: what it led to. It is the same when the
// request is repeated under the same Idempotency-Key.
type Receipt struct {
	ID       string  `json:"id" doc:"The thing the command created or changed" example:"run_0190f4d2-7c1a-7b3e-9a51-3f1e2d4c5b6a"`
	Version  Ordinal `json:"version" doc:"Version of the thing after the command"`
	Position Ordinal `json:"position" doc:"Position of the command's last event in the log; 0 when there was nothing left to do"`
}

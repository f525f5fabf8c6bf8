package domain

import (
	"errors"
	"fmt"
)

// ErrorKind says what a caller can do about an error. The API maps each kind to
// one HTTP status and the command line to one exit code.
type ErrorKind string

// The kinds of error.
const (
	Invalid         ErrorKind = "invalid"         // mend the request
	Unauthenticated ErrorKind = "unauthenticated" // present a valid credential
	Forbidden       ErrorKind = "forbidden"       // ask for the permission
	NotFound        ErrorKind = "not_found"       // it is not there, or not yours
	Conflict        ErrorKind = "conflict"        // the state does not allow it
	Stale           ErrorKind = "stale"           // read again: somebody changed it
	Exhausted       ErrorKind = "exhausted"       // a limit is reached: later, or less
	TooLarge        ErrorKind = "too_large"       // send less
	Unavailable     ErrorKind = "unavailable"     // try again: a part is down or full
	Unknown         ErrorKind = "unknown"         // it may have happened: ask again with the same command id
	Internal        ErrorKind = "internal"        // a fault of ours
)

// Error is the one error type that reaches a user. Code is stable and dotted
// (`run.already_ended`); Message is one sentence; Field is the path of the
// offending input, if there is one; Fix says what to do.
type Error struct {
	Kind    ErrorKind `json:"kind"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
	Field   string    `json:"field,omitempty"`
	Fix     string    `json:"fix,omitempty"`
}

func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Fix != "" {
		s += " (" + e.Fix + ")"
	}
	return s
}

// Is compares codes, so that an error survives a queue or a database.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// With returns a copy of a sentinel with a message made for the occasion.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// At returns a copy that names the offending field.
func (e *Error) At(field string) *Error {
	c := *e
	c.Field = field
	return &c
}

// InvalidField is the error for one malformed input field.
func InvalidField(field, message, fix string) *Error {
	return &Error{Kind: Invalid, Code: "request.invalid_field", Message: message, Field: field, Fix: fix}
}

// KindOf returns the kind of the first *Error in err's chain, or Internal.
func KindOf(err error) ErrorKind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

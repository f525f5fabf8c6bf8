package v1

import "time"

// Me is who asks.
type Me struct {
	Tenant      string   `json:"tenant"`
	Actor       string   `json:"actor"`
	Kind        string   `json:"kind"`
	Permissions []string `json:"permissions" nullable:"false"`
	Name        string   `json:"name,omitempty" doc:"Name of the person who has the token"`
	Erased      bool     `json:"erased,omitempty" doc:"The name was erased for ever: it is [erased]"`
	Token       string   `json:"token,omitempty" doc:"Identifier of the access token in use"`
}

// Token is an access token as it stands. Of its secret nothing can be shown: the
// log has only a hash of it. Tokens do not expire; they are revoked.
type Token struct {
	ID          string    `json:"id"`
	State       string    `json:"state" enum:"valid,revoked"`
	Current     bool      `json:"current" doc:"It is the token of this request"`
	Tenant      string    `json:"tenant" doc:"The tenant it acts in"`
	Actor       string    `json:"actor" doc:"Whom it acts as"`
	Kind        string    `json:"kind" doc:"What the actor is, such as operator or human"`
	Permissions []string  `json:"permissions" nullable:"false"`
	Name        string    `json:"name,omitempty" doc:"Name of the person who has it"`
	Issued      time.Time `json:"issued"`
	Changed     time.Time `json:"changed" doc:"When it was issued, rotated or revoked last"`
	Erased      bool      `json:"erased,omitempty" doc:"The name was erased for ever: it is [erased]"`
	Sealed      bool      `json:"sealed,omitempty" doc:"You may not read content: the name is [sealed]"`
}

// The states of a token.
const (
	TokenValid   = "valid"
	TokenRevoked = "revoked"
)

// TokenList is a page of tokens.
type TokenList struct {
	Items []Token `json:"items" nullable:"false"`
	Next  string  `json:"next,omitempty" doc:"Cursor of the next page"`
}

// RotateToken is the body of a request to replace the secret of the access
// token in use. A client that makes the secret itself, stores it, and sends only
// its hash cannot lock itself out when the answer is lost.
type RotateToken struct {
	SecretHash string `json:"secret_hash,omitempty" pattern:"^sha256:[0-9a-f]{64}$" doc:"Hash of a secret you made: hos_ and 43 characters of base64url; if left out, one is made for you and shown once"`
}

// RotatedToken answers with the new secret if the server made it.
type RotatedToken struct {
	Receipt
	Secret string `json:"secret,omitempty" doc:"The new secret. It is shown once, and not at all when the request is repeated"`
}

// Status is the answer of /health and /ready.
type Status struct {
	Status  string   `json:"status" example:"ok"`
	Version string   `json:"version,omitempty"`
	Missing []string `json:"missing,omitempty" nullable:"false" doc:"Parts that do not answer; only for callers who may know"`
	// Degraded is what does not keep the server from working.
	Degraded []string `json:"degraded,omitempty" nullable:"false" doc:"Parts that lag or fail while requests are served, such as anchors of checkpoints; only for callers who may know"`
}

// FieldError is one malformed field of a request.
type FieldError struct {
	Field   string `json:"field" doc:"Path of the field, such as body.inputs.document"`
	Message string `json:"message"`
}

// Problem is an RFC 9457 problem.
type Problem struct {
	Type    string       `json:"type" doc:"/problems/ and the code" example:"/problems/run.already_ended"`
	Title   string       `json:"title" doc:"What kind of problem it is"`
	Status  int          `json:"status" doc:"HTTP status"`
	Detail  string       `json:"detail,omitempty" doc:"One sentence about this case"`
	Code    string       `json:"code" doc:"Stable dotted code"`
	Field   string       `json:"field,omitempty" doc:"The offending field"`
	Fix     string       `json:"fix,omitempty" doc:"What to do"`
	Errors  []FieldError `json:"errors,omitempty" nullable:"false" doc:"Every malformed field"`
	Command string       `json:"command,omitempty" doc:"When the outcome is not known: send the same request again with this Idempotency-Key"`
	Request string       `json:"request,omitempty" doc:"Identifier of the request in our log"`
}

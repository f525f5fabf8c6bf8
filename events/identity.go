package events

import "github.com/hishamos/hishamos/domain"

// Token is what can happen to an access token.
//
//sumtype:decl
type Token interface {
	Event
	isToken()
}

// TokenIssued makes a secret valid. Only its hash is kept: "sha256:" and hex.
type TokenIssued struct {
	Tenant      domain.Tenant       `json:"tenant"`
	Actor       domain.Actor        `json:"actor"`
	Permissions []domain.Permission `json:"permissions"`
	SecretHash  string              `json:"secret_hash"`
	Holder      string              `json:"holder,omitempty" class:"personal"` // the name of the person who has it
}

// AboutPerson implements About.
func (e TokenIssued) AboutPerson() string { return e.Actor.ID }

// TokenRotated replaces the secret; the old one stops working at once.
type TokenRotated struct {
	SecretHash string `json:"secret_hash"`
}

// TokenRevoked ends the token.
type TokenRevoked struct{}

func (TokenIssued) EventType() string  { return "token.issued" }
func (TokenRotated) EventType() string { return "token.rotated" }
func (TokenRevoked) EventType() string { return "token.revoked" }

func (TokenIssued) isToken()  {}
func (TokenRotated) isToken() {}
func (TokenRevoked) isToken() {}

var identityTypes = []Type{of[TokenIssued](), of[TokenRotated](), of[TokenRevoked](closes)}

package commands

import "github.com/hishamos/hishamos/domain"

// Token is what may be asked of an access token.
//
//sumtype:decl
type Token interface {
	Command
	isToken()
}

// IssueToken makes a secret valid for an actor of a tenant. SecretHash is
// "sha256:" and the hex digest; the secret itself never leaves the issuer.
type IssueToken struct {
	Token       domain.StreamID
	Tenant      domain.Tenant
	Actor       domain.Actor
	Permissions []domain.Permission
	SecretHash  string
	Holder      string // the name of the person who has it; may be empty
}

// RotateToken replaces the secret.
type RotateToken struct {
	Token      domain.StreamID
	SecretHash string
}

// RevokeToken ends the token.
type RevokeToken struct{ Token domain.StreamID }

func (IssueToken) CommandName() string  { return "token.issue" }
func (RotateToken) CommandName() string { return "token.rotate" }
func (RevokeToken) CommandName() string { return "token.revoke" }

func (c IssueToken) Target() domain.StreamID  { return c.Token }
func (c RotateToken) Target() domain.StreamID { return c.Token }
func (c RevokeToken) Target() domain.StreamID { return c.Token }

func (IssueToken) Needs() domain.Permission  { return domain.TokenManage }
func (RotateToken) Needs() domain.Permission { return domain.TokenManage }
func (RevokeToken) Needs() domain.Permission { return domain.TokenManage }

// Validate implements Command.
func (c IssueToken) Validate() error {
	if len(c.SecretHash) != len("sha256:")+64 {
		return domain.InvalidField("secret_hash", "is not a SHA-256", "send sha256: and 64 hex digits")
	}
	if len(c.Holder) > 200 {
		return domain.InvalidField("holder", "is longer than 200 bytes", "shorten it")
	}
	return validStream("token", c.Token, "token")
}

// Validate implements Command.
func (c RotateToken) Validate() error {
	if len(c.SecretHash) != len("sha256:")+64 {
		return domain.InvalidField("secret_hash", "is not a SHA-256", "send sha256: and 64 hex digits")
	}
	return validStream("token", c.Token, "token")
}

// Validate implements Command.
func (c RevokeToken) Validate() error { return validStream("token", c.Token, "token") }

func (IssueToken) isToken()  {}
func (RotateToken) isToken() {}
func (RevokeToken) isToken() {}

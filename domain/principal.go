package domain

import (
	"encoding/json"
	"slices"
)

// Actor is one link of the chain that says who acts: a human, the grant they
// act under, the agent acting for them, the tool the agent uses.
type Actor struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
}

// The kinds of actor.
const (
	Operator = "operator"
	Human    = "human"
	Agent    = "agent"
	System   = "system"
)

// Principal is who asks: on whose behalf (tenant), through whom (chain, the
// originator first), and what they may do.
type Principal struct {
	Tenant      Tenant
	Chain       []Actor
	Permissions []Permission
}

// May reports whether the principal holds a permission.
func (p Principal) May(want Permission) bool {
	return slices.Contains(p.Permissions, want) || slices.Contains(p.Permissions, AllPermissions)
}

// As returns the principal acting through a further link of the chain.
func (p Principal) As(a Actor) Principal {
	p.Chain = append(slices.Clone(p.Chain), a)
	return p
}

// ActorJSON is the canonical (RFC 8785) JSON of the chain, as events carry it.
// Actor ids are restricted to characters that need no escaping.
func (p Principal) ActorJSON() string {
	b, err := json.Marshal(p.Chain)
	if err != nil { // two string fields: cannot fail
		panic(err)
	}
	return string(b)
}

// SystemPrincipal is the program itself acting in a tenant: a reaction, a timer.
func SystemPrincipal(t Tenant, id string) Principal {
	return Principal{Tenant: t, Chain: []Actor{{Kind: System, ID: id}}, Permissions: []Permission{AllPermissions}}
}

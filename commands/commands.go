// Package commands is everything that may be asked: one file per feature, data
// and shape checks only. Each stream kind has a sealed union.
//
// It must not know state, so Validate never asks whether something exists. It
// imports domain and the standard library.
//
// In the product, "command library" means prompt templates: those are data under
// library/commands, not the commands of this package.
package commands

import "github.com/hishamos/hishamos/domain"

// Command is one request for change to one stream.
type Command interface {
	// CommandName is the stable name, `noun.verb`.
	CommandName() string
	// Target is the stream it changes.
	Target() domain.StreamID
	// Needs is the permission the principal must hold.
	Needs() domain.Permission
	// Validate checks the shape, and answers with an *domain.Error that names
	// the field.
	Validate() error
}

// Urgent is a command that ends work which has begun; it is carried out even
// when new work is refused.
type Urgent interface{ Urgent() }

func validStream(field string, s domain.StreamID, kind string) error {
	if !s.Valid() || s.Kind() != kind {
		return domain.InvalidField(field, "is not the id of a "+kind, "use an id like "+kind+"_0190f4d2-...")
	}
	return nil
}

package commands

import (
	"slices"

	"github.com/hishamos/hishamos/domain"
)

// Erasure is what may be asked of an order to erase.
//
//sumtype:decl
type Erasure interface {
	Command
	isErasure()
}

// The subjects of an erasure.
const (
	EraseRun    = "run"
	EraseFile   = "file"
	ErasePerson = "person"
	EraseTenant = "tenant"
)

// OrderErasure orders that keys are destroyed. Who asks has found out which keys
// those are, and that nothing goes on that still needs them.
type OrderErasure struct {
	Order   domain.StreamID // made by ErasureOrder
	Subject string          // EraseRun, EraseFile, ErasePerson or EraseTenant
	ID      string          // of the run, the file, the actor, or the tenant
	Keys    []string
	Reason  string
}

// CompleteErasure records that the keys were destroyed.
type CompleteErasure struct{ Order domain.StreamID }

// ErasureOrder is the stream of an order, of which there is one per thing that is
// erased: a run, a file, a tenant, or one key of a person.
func ErasureOrder(t domain.Tenant, subject, thing string) domain.StreamID {
	return domain.NamedStreamID(t, "erasure", subject+"/"+thing)
}

func (OrderErasure) CommandName() string    { return "erasure.order" }
func (CompleteErasure) CommandName() string { return "erasure.complete" }

func (c OrderErasure) Target() domain.StreamID    { return c.Order }
func (c CompleteErasure) Target() domain.StreamID { return c.Order }

func (OrderErasure) Needs() domain.Permission    { return domain.ContentErase }
func (CompleteErasure) Needs() domain.Permission { return domain.ContentErase }

// Urgent implements the interface of that name.
func (OrderErasure) Urgent() {}

// Urgent implements the interface of that name.
func (CompleteErasure) Urgent() {}

func (OrderErasure) isErasure()    {}
func (CompleteErasure) isErasure() {}

// Validate implements Command.
func (c OrderErasure) Validate() error {
	switch {
	case !slices.Contains([]string{EraseRun, EraseFile, ErasePerson, EraseTenant}, c.Subject):
		return domain.InvalidField("subject", "is not one that can be erased", "use run, file, person or tenant")
	case c.ID == "":
		return domain.InvalidField("id", "is missing", "name what is to be erased")
	case len(c.Reason) > 1000:
		return domain.InvalidField("reason", "is longer than 1000 bytes", "shorten it")
	}
	return validStream("order", c.Order, "erasure")
}

// Validate implements Command.
func (c CompleteErasure) Validate() error { return validStream("order", c.Order, "erasure") }

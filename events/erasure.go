package events

// Erasure is what can happen to an order to erase.
//
//sumtype:decl
type Erasure interface {
	Event
	isErasure()
}

// ErasureOrdered says that keys are to be destroyed, for ever: what they sealed
// then reads as erased, everywhere and as of any time.
type ErasureOrdered struct {
	Subject string   `json:"subject"` // run, file, person or tenant
	ID      string   `json:"id"`      // of the run, the file, the actor, or the tenant
	Keys    []string `json:"keys"`    // that are to be destroyed
	Reason  string   `json:"reason,omitempty" class:"content"`
}

// ErasureCompleted says that the keys were destroyed.
type ErasureCompleted struct{}

func (ErasureOrdered) EventType() string   { return "erasure.ordered" }
func (ErasureCompleted) EventType() string { return "erasure.completed" }

func (ErasureOrdered) isErasure()   {}
func (ErasureCompleted) isErasure() {}

var erasureTypes = []Type{of[ErasureOrdered](), of[ErasureCompleted](closes)}

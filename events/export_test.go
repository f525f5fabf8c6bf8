package events

// What tests build a small catalogue of their own with.
var (
	Next  = next
	Since = since
	AtOf  = at
)

// Row is the row of an event type.
func Row[E Event](opts ...option) Type { return of[E](opts...) }

// Read decodes data of a version.
func (t Type) Read(version int, data []byte) (Event, error) { return t.read(version, data) }

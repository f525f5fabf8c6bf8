package projection

import (
	"fmt"
	"reflect"
)

// Table is a set of rows, each made from the events of one stream.
type Table[R any] struct{ *Schema }

// NewTable describes a table by its row type. It panics when the type cannot be
// a row: tables are package variables, so that shows at start.
func NewTable[R any](name string) Table[R] {
	return Table[R]{newSchema(name, reflect.TypeFor[R]())}
}

// NewHistoryTable is NewTable for a table that answers as of a position: every
// row that an append supersedes is kept with the positions between which it
// held.
func NewHistoryTable[R any](name string) Table[R] {
	t := NewTable[R](name)
	t.History = true
	return t
}

// Get returns the row with the key of k; other fields of k do not matter.
func (t Table[R]) Get(w *Rows, k R) (R, bool) {
	e := w.get(t.Schema, &k)
	if e == nil || e.row == nil {
		var zero R
		return zero, false
	}
	return *e.row.(*R), true
}

// Put writes a row, new or changed.
func (t Table[R]) Put(w *Rows, r R) {
	t.settle(&r)
	w.put(t.Schema, &r, false)
}

// Insert writes a row that cannot exist yet, because the event is the first of
// its stream: nothing has to be loaded to know what it replaces.
func (t Table[R]) Insert(w *Rows, r R) {
	t.settle(&r)
	w.put(t.Schema, &r, true)
}

// Absent says that there is no row with the key of k yet, because the event is the
// first of its stream, so that nothing has to be loaded to know it later.
func (t Table[R]) Absent(w *Rows, k R) { w.absent(t.Schema, &k) }

// Counter is a set of rows that any stream may feed, because it is only added
// to: additions commute, so the order between streams does not matter.
type Counter[R any] struct{ *Schema }

// NewCounter describes a counter; all columns but the keys are integers.
func NewCounter[R any](name string) Counter[R] {
	s := newSchema(name, reflect.TypeFor[R]())
	s.Counter = true
	for _, c := range s.Columns {
		if !c.Key && c.Kind != Int {
			panic(fmt.Sprintf("counter %s: column %s is not a number", name, c.Name))
		}
	}
	return Counter[R]{s}
}

// Add adds the numbers of delta to the row with its key.
func (c Counter[R]) Add(w *Rows, delta R) {
	c.settle(&delta)
	w.add(c.Schema, &delta)
}

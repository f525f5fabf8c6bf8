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
	if r := t.Look(w, k); r != nil {
		return *r, true
	}
	var zero R
	return zero, false
}

// Look is Get without a copy: the row must not be changed, and is nil if there is
// none.
func (t Table[R]) Look(w *Rows, k R) *R {
	_, e := t.find(w, k)
	if e == nil || e.row == nil {
		return nil
	}
	return e.row.(*R)
}

// Change has f change the row with the key of k, but not its key. It reports
// whether there is one.
func (t Table[R]) Change(w *Rows, k R, f func(*R)) bool {
	s, e := t.find(w, k)
	if e == nil || e.row == nil {
		return false
	}
	r := new(R)
	*r = *e.row.(*R)
	f(r)
	t.settle(r)
	w.place(s, r, false)
	return true
}

// find returns the slot of a key and its entry, if that is loaded. What a key is
// looked up by is kept only of those that have to be loaded.
func (t Table[R]) find(w *Rows, k R) (slot, *entry) {
	example, _ := w.cache.examples[t.Schema].(*R)
	if example == nil {
		example = new(R)
	}
	*example = k
	s := slot{t.Schema, t.Key(example)}
	e, loaded := w.get(s)
	if !loaded {
		w.miss(s, example)
		example = nil
	}
	w.cache.examples[t.Schema] = example
	return s, e
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

// NewCounter describes a counter; all columns but the keys are integers. One whose
// key has the column position is a journal: each append has rows of its own there.
func NewCounter[R any](name string) Counter[R] {
	s := newSchema(name, reflect.TypeFor[R]())
	s.Counter = true
	for _, c := range s.Columns {
		if !c.Key && c.Kind != Int {
			panic(fmt.Sprintf("counter %s: column %s is not a number", name, c.Name))
		}
		s.Journal = s.Journal || c.Key && c.Name == "position"
	}
	return Counter[R]{s}
}

// Add adds the numbers of delta to the row with its key.
func (c Counter[R]) Add(w *Rows, delta R) {
	c.settle(&delta)
	w.add(c.Schema, &delta)
}

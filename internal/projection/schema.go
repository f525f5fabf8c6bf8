package projection

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Kind is how a column is held in Go and in a store.
type Kind int

// The kinds of column, with the Go types that lead to them.
const (
	Text  Kind = iota // strings; NULL is "", where the column may be NULL
	Int               // integers, signed or not; likewise 0
	Float             // float64; likewise 0
	Bool              // bool; likewise false
	Time              // time.Time, never NULL, or *time.Time
	JSON              // json.RawMessage, slices, maps, structs; nil is NULL
)

// Column is one column of a table.
type Column struct {
	Name string
	Kind Kind
	Key  bool
	// Live columns are left out of the history: content that is written once.
	Live bool
	// Date columns are text in Go and a date in the database.
	Date  bool
	field int
	inner int  // field of the embedded row that field is; -1: it is none
	raw   bool // a json.RawMessage, kept as it is
	ptr   bool // a *time.Time
}

// of is the field of a row.
func (c *Column) of(row reflect.Value) reflect.Value {
	f := row.Field(c.field)
	if c.inner >= 0 {
		f = f.Field(c.inner)
	}
	return f
}

// Schema describes a table to stores. The row type is a flat struct with tags:
// `db:"name"`, `db:"name,key"`, `db:"name,live"`, `db:"day,key,date"`; it may
// embed another row type, whose columns it then has too.
type Schema struct {
	Name    string // the physical table; its history is <name>_history
	History bool   // superseded rows are kept, with the positions between which they held
	Counter bool   // rows are only added to
	Journal bool   // and by one append each: its position is in the key
	Columns []Column
	Keys    []int // indexes of the key columns
	row     reflect.Type
	fold    *folding // nil: rows hold no versions before their own
}

var (
	timeType = reflect.TypeFor[time.Time]()
	timePtr  = reflect.TypeFor[*time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

func newSchema(name string, row reflect.Type) *Schema {
	s := &Schema{Name: name, row: row}
	for i := range row.NumField() {
		f := row.Field(i)
		if !f.Anonymous {
			s.column(f, i, -1)
			continue
		}
		for n := range f.Type.NumField() {
			s.column(f.Type.Field(n), i, n)
		}
	}
	if len(s.Keys) == 0 {
		panic(fmt.Sprintf("table %s has no key", name))
	}
	return s
}

// column adds the column of a field.
func (s *Schema) column(f reflect.StructField, field, inner int) {
	tag, ok := f.Tag.Lookup("db")
	if !ok {
		panic(fmt.Sprintf("table %s: field %s has no db tag", s.Name, f.Name))
	}
	parts := strings.Split(tag, ",")
	c := Column{Name: parts[0], field: field, inner: inner, raw: f.Type == rawType, ptr: f.Type == timePtr}
	for _, o := range parts[1:] {
		switch o {
		case "key":
			c.Key = true
			s.Keys = append(s.Keys, len(s.Columns))
		case "live":
			c.Live = true
		case "date":
			c.Date = true
		default:
			panic(fmt.Sprintf("table %s: field %s: unknown option %q", s.Name, f.Name, o))
		}
	}
	c.Kind = kindOf(f.Type)
	if c.Key && c.Kind != Text && c.Kind != Int {
		panic(fmt.Sprintf("table %s: key %s must be text or a number", s.Name, f.Name))
	}
	s.Columns = append(s.Columns, c)
}

func kindOf(t reflect.Type) Kind {
	switch t.Kind() {
	case reflect.String:
		return Text
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Int
	case reflect.Float64:
		return Float
	case reflect.Bool:
		return Bool
	case reflect.Struct, reflect.Slice, reflect.Map, reflect.Pointer:
		if t == timeType || t == timePtr {
			return Time
		}
		return JSON
	default:
		panic(fmt.Sprintf("type %s cannot be a column", t))
	}
}

// New returns a pointer to a zero row.
func (s *Schema) New() any { return reflect.New(s.row).Interface() }

// Key joins the key columns of a row (a pointer) into one string.
func (s *Schema) Key(row any) string {
	v := reflect.ValueOf(row).Elem()
	if len(s.Keys) == 1 && s.Columns[s.Keys[0]].Kind == Text {
		return s.Columns[s.Keys[0]].of(v).String()
	}
	key := make([]byte, 0, 128)
	for _, k := range s.Keys {
		if c := &s.Columns[k]; c.Kind == Text {
			key = append(key, c.of(v).String()...)
		} else {
			key = strconv.AppendInt(key, integer(c.of(v)), 10)
		}
		key = append(key, 0)
	}
	return string(key)
}

func integer(v reflect.Value) int64 {
	if v.CanInt() {
		return v.Int()
	}
	return int64(v.Uint())
}

// Cell is a column of a row in its stored form. What Kind says holds it; Text is
// also the text of JSON.
type Cell struct {
	Kind  Kind
	Null  bool
	Bool  bool
	Text  string
	Int   int64
	Float float64
	Time  time.Time
}

// Zero reports whether it is the zero of its kind. A time or JSON that is missing is
// Null.
func (c *Cell) Zero() bool {
	switch c.Kind {
	case Text:
		return c.Text == ""
	case Int:
		return c.Int == 0
	case Float:
		return c.Float == 0
	case Bool:
		return !c.Bool
	case Time, JSON:
	}
	return false
}

// Cells are the columns of one row, none of them boxed.
type Cells struct {
	schema *Schema
	row    reflect.Value
}

// Cells returns the columns of a row, given by a pointer.
func (s *Schema) Cells(row any) Cells { return Cells{s, reflect.ValueOf(row).Elem()} }

// Unset reports whether a column is the zero of its kind or Null; it is quicker
// than looking at what At returns.
func (r Cells) Unset(column int) bool {
	c := &r.schema.Columns[column]
	f := c.of(r.row)
	switch c.Kind {
	case Time, JSON:
		k := f.Kind()
		return (k == reflect.Pointer || k == reflect.Slice || k == reflect.Map) && f.IsNil()
	case Text, Int, Float, Bool:
	}
	return f.IsZero()
}

// At returns a column.
func (r Cells) At(column int) Cell {
	c := &r.schema.Columns[column]
	f := c.of(r.row)
	cell := Cell{Kind: c.Kind}
	switch c.Kind {
	case Text:
		cell.Text = f.String()
	case Int:
		cell.Int = integer(f)
	case Float:
		cell.Float = f.Float()
	case Bool:
		cell.Bool = f.Bool()
	case Time:
		if !c.ptr {
			cell.Time = *f.Addr().Interface().(*time.Time)
		} else if t := *f.Addr().Interface().(**time.Time); t != nil {
			cell.Time = *t
		} else {
			cell.Null = true
		}
	case JSON:
		cell.Text, cell.Null = jsonText(c, f)
	}
	return cell
}

func jsonText(c *Column, f reflect.Value) (text string, null bool) {
	if c.raw {
		return string(f.Bytes()), f.Len() == 0
	}
	if k := f.Kind(); (k == reflect.Slice || k == reflect.Map || k == reflect.Pointer) && f.IsNil() {
		return "", true
	}
	b, err := json.Marshal(f.Interface())
	if err != nil { // rows hold plain data; anything else is a fault of the definition
		panic(fmt.Sprintf("column %s: %v", c.Name, err))
	}
	return string(b), false
}

// Set puts a stored value into a column of a row: string, int64, float64, bool,
// time.Time or the text of JSON; nil is NULL.
func (s *Schema) Set(row any, column int, value any) error {
	c := &s.Columns[column]
	f := c.of(reflect.ValueOf(row).Elem())
	if value == nil {
		f.SetZero()
		return nil
	}
	switch c.Kind {
	case Text:
		f.SetString(value.(string))
	case Int:
		if f.CanInt() {
			f.SetInt(value.(int64))
		} else {
			f.SetUint(uint64(value.(int64)))
		}
	case Float:
		f.SetFloat(value.(float64))
	case Bool:
		f.SetBool(value.(bool))
	case Time:
		t := value.(time.Time).UTC()
		if c.ptr {
			f.Set(reflect.ValueOf(&t))
		} else {
			f.Set(reflect.ValueOf(t))
		}
	case JSON:
		if c.raw {
			f.SetBytes([]byte(value.(string)))
			return nil
		}
		if err := json.Unmarshal([]byte(value.(string)), f.Addr().Interface()); err != nil {
			return fmt.Errorf("read column %s of %s: %w", c.Name, s.Name, err)
		}
	}
	return nil
}

// settle gives a row the precision and the characters a database keeps, so that
// a row read back is the row that was put.
func (s *Schema) settle(row any) {
	v := reflect.ValueOf(row).Elem()
	for i := range s.Columns {
		c := &s.Columns[i]
		switch c.Kind {
		case Time:
			settleTime(c, c.of(v))
		case Text:
			f := c.of(v)
			if t := f.String(); strings.IndexByte(t, 0) >= 0 {
				f.SetString(strings.ReplaceAll(t, "\x00", "\uFFFD"))
			}
		}
	}
}

func settleTime(c *Column, f reflect.Value) {
	if !c.ptr {
		t := f.Interface().(time.Time)
		if u := t.UTC().Truncate(time.Microsecond); u != t {
			f.Set(reflect.ValueOf(u))
		}
		return
	}
	if p := f.Interface().(*time.Time); p != nil {
		if u := p.UTC().Truncate(time.Microsecond); u != *p {
			f.Set(reflect.ValueOf(&u)) // the event's own instant stays as it is
		}
	}
}

// add adds the numbers of delta to those of sum; keys stay.
func (s *Schema) add(sum, delta any) {
	a, b := reflect.ValueOf(sum).Elem(), reflect.ValueOf(delta).Elem()
	for i := range s.Columns {
		c := &s.Columns[i]
		if c.Key {
			continue
		}
		f, d := c.of(a), c.of(b)
		switch {
		case f.CanInt():
			f.SetInt(f.Int() + d.Int())
		default:
			f.SetUint(f.Uint() + d.Uint())
		}
	}
}

// Add returns a + b as a fresh row of a counter, for stores.
func (s *Schema) Add(a, b any) any {
	sum := reflect.New(s.row)
	sum.Elem().Set(reflect.ValueOf(a).Elem())
	s.add(sum.Interface(), b)
	return sum.Interface()
}

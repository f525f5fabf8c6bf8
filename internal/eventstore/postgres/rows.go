package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/hishamos/hishamos/internal/pg"
)

// Rows travel as one array of the table's row type in Postgres's binary form.
// One array per column, unnested side by side, took four times the time: the
// server keeps what each yields apart until it has all.

// The types of Postgres that columns are made of.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt4        = 23
	oidText        = 25
	oidTimestamptz = 1184
	oidUUID        = 2950
)

// column is a column of a table that batches write.
type column struct {
	name string
	oid  uint32
}

// rowType is the row type of a table as the database has it.
type rowType struct {
	oid    uint32
	fields []field
}

// field is one column of a row type. A column that this build does not know is
// not inserted, so that it gets its default, but a row has to have it.
type field struct {
	oid   uint32
	known bool
}

// readRowType returns the row type of a table whose columns, as far as this build
// knows them, are there in the same order.
func readRowType(ctx context.Context, db pg.Querier, table string, columns []column) (rowType, error) {
	read, err := pg.ReadRowType(ctx, db, table)
	if err != nil {
		return rowType{}, err
	}
	t, at := rowType{oid: read.OID}, 0
	for _, c := range read.Columns {
		known := at < len(columns) && columns[at] == column{c.Name, c.OID}
		if known {
			at++
		}
		t.fields = append(t.fields, field{c.OID, known})
	}
	if at < len(columns) {
		return t, fmt.Errorf("column %s of %s is missing or of another type: migrate the database", columns[at].name, table)
	}
	return t, nil
}

// rows is an array of rows, built value by value, in the order of the columns,
// and without reflection.
type rows struct {
	rowType
	n     uint32
	buf   []byte
	start int // of the row under way
	at    int // its next field
}

const arrayHeader = 20 // dimensions, null flag, type, length, lower bound

func (r *rows) reset() {
	r.n = 0
	r.buf = append(r.buf[:0], make([]byte, arrayHeader)...)
}

// row begins a row.
func (r *rows) row() {
	r.n++
	r.start, r.at = len(r.buf), 0
	r.buf = binary.BigEndian.AppendUint32(r.buf, 0) // its length; see end
	r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(len(r.fields)))
}

// end ends a row.
func (r *rows) end() {
	r.skip()
	binary.BigEndian.PutUint32(r.buf[r.start:], uint32(len(r.buf)-r.start-4))
}

const lengthOfNull = 0xFFFFFFFF

// skip leaves fields empty that this build does not know.
func (r *rows) skip() {
	for r.at < len(r.fields) && !r.fields[r.at].known {
		r.field(lengthOfNull)
	}
}

func (r *rows) field(length uint32) {
	r.buf = binary.BigEndian.AppendUint32(r.buf, r.fields[r.at].oid)
	r.buf = binary.BigEndian.AppendUint32(r.buf, length)
	r.at++
}

func (r *rows) text(s string) {
	r.skip()
	r.field(uint32(len(s)))
	r.buf = append(r.buf, s...)
}

func (r *rows) bytes(b []byte) {
	r.skip()
	r.field(uint32(len(b)))
	r.buf = append(r.buf, b...)
}

// bytesOrNull writes nil as null.
func (r *rows) bytesOrNull(b []byte) {
	if b != nil {
		r.bytes(b)
		return
	}
	r.skip()
	r.field(lengthOfNull)
}

func (r *rows) int8(v int64) {
	r.skip()
	r.field(8)
	r.buf = binary.BigEndian.AppendUint64(r.buf, uint64(v))
}

func (r *rows) int4(v int) {
	r.skip()
	r.field(4)
	r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(int32(v)))
}

func (r *rows) bool(v bool) {
	r.skip()
	r.field(1)
	if v {
		r.buf = append(r.buf, 1)
	} else {
		r.buf = append(r.buf, 0)
	}
}

func (r *rows) time(t time.Time) { r.int8(microseconds(t)) }

// array returns all rows.
func (r *rows) array() []byte {
	h := r.buf
	if r.n == 0 {
		binary.BigEndian.PutUint32(h[8:], r.oid)
		return h[:12] // without dimensions
	}
	binary.BigEndian.PutUint32(h[0:], 1)
	binary.BigEndian.PutUint32(h[8:], r.oid)
	binary.BigEndian.PutUint32(h[12:], r.n)
	binary.BigEndian.PutUint32(h[16:], 1)
	return h
}

// epoch is the zero of Postgres's instants, 2000-01-01, in microseconds.
const epoch = 946684800_000000

// microseconds is the binary form of a timestamptz, and instant its inverse.
func microseconds(t time.Time) int64 { return t.UnixMicro() - epoch }
func instant(v int64) time.Time      { return time.UnixMicro(v + epoch).UTC() }

func int8Param(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
func int4Param(v int) []byte   { return binary.BigEndian.AppendUint32(nil, uint32(int32(v))) }

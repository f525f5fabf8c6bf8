package postgres

import (
	"encoding/binary"
	"time"
)

// The types of Postgres that columns are made of.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt4        = 23
	oidText        = 25
	oidTimestamptz = 1184
)

// column is a one-dimensional array in Postgres's binary form, built value by
// value and without reflection.
type column struct {
	oid uint32
	n   uint32
	buf []byte
}

const columnHeader = 20 // dimensions, null flag, type, length, lower bound

func (c *column) reset() {
	c.n = 0
	c.buf = append(c.buf[:0], make([]byte, columnHeader)...)
}

func (c *column) text(s string) {
	c.n++
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(len(s)))
	c.buf = append(c.buf, s...)
}

func (c *column) bytes(b []byte) {
	c.n++
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(len(b)))
	c.buf = append(c.buf, b...)
}

// bytesOrNull writes nil as null.
func (c *column) bytesOrNull(b []byte) {
	if b == nil {
		c.n++
		c.buf = binary.BigEndian.AppendUint32(c.buf, 0xFFFFFFFF)
		c.buf[7] = 1 // the array has nulls
		return
	}
	c.bytes(b)
}

func (c *column) int8(v int64) {
	c.n++
	c.buf = binary.BigEndian.AppendUint32(c.buf, 8)
	c.buf = binary.BigEndian.AppendUint64(c.buf, uint64(v))
}

func (c *column) int4(v int) {
	c.n++
	c.buf = binary.BigEndian.AppendUint32(c.buf, 4)
	c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(int32(v)))
}

func (c *column) bool(v bool) {
	c.n++
	c.buf = binary.BigEndian.AppendUint32(c.buf, 1)
	if v {
		c.buf = append(c.buf, 1)
	} else {
		c.buf = append(c.buf, 0)
	}
}

func (c *column) time(t time.Time) { c.int8(microseconds(t)) }

// finish returns the array.
func (c *column) finish() []byte {
	h := c.buf
	binary.BigEndian.PutUint32(h[0:], 1)
	binary.BigEndian.PutUint32(h[8:], c.oid)
	binary.BigEndian.PutUint32(h[12:], c.n)
	binary.BigEndian.PutUint32(h[16:], 1)
	return h
}

// single returns the value of a column that has one, nil for null.
func (c *column) single() []byte {
	if c.buf[7] == 1 {
		return nil
	}
	return c.buf[columnHeader+4:]
}

// microseconds is the binary form of a timestamptz: since 2000-01-01.
func microseconds(t time.Time) int64 {
	const epoch = 946684800_000000
	return t.UnixMicro() - epoch
}

func int8Param(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
func int4Param(v int) []byte   { return binary.BigEndian.AppendUint32(nil, uint32(int32(v))) }

package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/pg"
	"github.com/hishamos/hishamos/internal/projection"
)

// Rows travel as one array of the table's own row type, in Postgres's binary
// form. One array per column, unnested side by side, took twice the time.

// shape is the row type of a table as the database has it.
type shape struct {
	row, array uint32 // type OIDs
	columns    []shapeColumn
}

type shapeColumn struct {
	oid    uint32
	column int  // of the schema, or one of those below
	sparse bool // a zero is stored as NULL: it takes no room
}

// The columns that belong to the runner.
const (
	buildColumn = -1 - iota
	fromColumn
	toColumn
)

// shapes are read once per table.
type shapes struct {
	mu    sync.Mutex
	known map[string]*shape
}

func (s *shapes) of(ctx context.Context, pool pg.Writer, t *projection.Schema, past bool) (*shape, error) {
	name := t.Name
	if past {
		name += "_history"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh := s.known[name]; sh != nil {
		return sh, nil
	}
	sh, err := readShape(ctx, pool, name, t, past)
	if err != nil {
		return nil, err
	}
	s.known[name] = sh
	return sh, nil
}

func readShape(ctx context.Context, pool pg.Writer, name string, t *projection.Schema, past bool) (*shape, error) {
	read, err := pg.ReadRowType(ctx, pool, name)
	if err != nil {
		return nil, err
	}
	places := map[string]int{"build": buildColumn}
	if t.History {
		places["valid_from"] = fromColumn
	}
	if past {
		places["valid_to"] = toColumn
	}
	for i, c := range t.Columns {
		if !past || !c.Live {
			places[c.Name] = i
		}
	}
	sh := &shape{row: read.OID, array: read.Array}
	for _, c := range read.Columns {
		place, ok := places[c.Name]
		if !ok {
			return nil, fmt.Errorf("column %s of %s is not in the row type", c.Name, name)
		}
		delete(places, c.Name)
		sh.columns = append(sh.columns, shapeColumn{c.OID, place, c.Nullable})
	}
	for missing := range places {
		return nil, fmt.Errorf("%s has no column %s", name, missing)
	}
	return sh, nil
}

// know lets a connection send arrays of the row type as they are.
func (s *shape) know(conn *pgx.Conn) {
	if _, ok := conn.TypeMap().TypeForOID(s.array); !ok {
		conn.TypeMap().RegisterType(&pgtype.Type{Name: fmt.Sprintf("hishamos_rows_%d", s.array), OID: s.array, Codec: pgtype.ByteaCodec{}})
	}
}

// rowAt is a row with what the runner knows of it.
type rowAt func(i int) (row any, from, to domain.Position)

// encode appends n rows as one array.
func (s *shape) encode(buf []byte, t *projection.Schema, build, n int, at rowAt) ([]byte, error) {
	u32 := binary.BigEndian.AppendUint32
	buf = u32(u32(u32(u32(u32(buf, 1), 0), s.row), uint32(n)), 1) // dimensions, nulls, type, length, lower bound
	for i := range n {
		row, from, to := at(i)
		cells := t.Cells(row)
		start := len(buf)
		buf = u32(u32(buf, 0), uint32(len(s.columns)))
		for _, c := range s.columns {
			if c.sparse && c.column >= 0 && cells.Unset(c.column) { // most columns of most rows
				buf = u32(u32(buf, c.oid), lengthOfNull)
				continue
			}
			cell := projection.Cell{Kind: projection.Int}
			switch c.column {
			case buildColumn:
				cell.Int = int64(build)
			case fromColumn:
				cell.Int = int64(from)
			case toColumn:
				cell.Int = int64(to)
			default:
				cell = cells.At(c.column)
				cell.Null = cell.Null || c.sparse && cell.Zero()
			}
			var err error
			if buf, err = appendField(u32(buf, c.oid), c.oid, &cell); err != nil {
				return nil, fmt.Errorf("write a row of %s: %w: %w", t.Name, projection.ErrData, err)
			}
		}
		binary.BigEndian.PutUint32(buf[start:], uint32(len(buf)-start-4))
		if i == 0 { // the others are about as long
			buf = slices.Grow(buf, (n-1)*(len(buf)-start)*5/4)
		}
	}
	return buf, nil
}

// epoch is the zero of Postgres's dates and instants.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

const lengthOfNull = math.MaxUint32

var errRange = errors.New("the number does not fit the column")

// appendField writes one value with its length.
func appendField(buf []byte, oid uint32, c *projection.Cell) ([]byte, error) {
	u32, u64 := binary.BigEndian.AppendUint32, binary.BigEndian.AppendUint64
	switch {
	case c.Null:
		return u32(buf, lengthOfNull), nil
	case c.Kind == projection.Int && oid == pgtype.Int8OID:
		return u64(u32(buf, 8), uint64(c.Int)), nil
	case c.Kind == projection.Int:
		if c.Int != int64(int32(c.Int)) {
			return nil, errRange
		}
		return u32(u32(buf, 4), uint32(int32(c.Int))), nil
	case c.Kind == projection.Float:
		return u64(u32(buf, 8), math.Float64bits(c.Float)), nil
	case c.Kind == projection.Bool:
		if c.Bool {
			return append(u32(buf, 1), 1), nil
		}
		return append(u32(buf, 1), 0), nil
	case c.Kind == projection.Time:
		return u64(u32(buf, 8), uint64(c.Time.UnixMicro()-epoch.UnixMicro())), nil
	case oid == pgtype.DateOID:
		day, err := time.Parse(time.DateOnly, c.Text)
		if err != nil {
			return nil, err
		}
		return u32(u32(buf, 4), uint32(int32(day.Sub(epoch)/(24*time.Hour)))), nil
	}
	return append(u32(buf, uint32(len(c.Text))), c.Text...), nil
}

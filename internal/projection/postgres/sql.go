package postgres

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hishamos/hishamos/domain"
	"github.com/hishamos/hishamos/internal/projection"
)

// statements are the SQL of one table, written once from its columns.
type statements struct {
	table   *projection.Schema
	load    string // rows by their keys
	insert  string // rows whose keys are not there
	write   string // upsert, or addition for counters
	past    string // insert into the history
	all     string
	allPast string
	discard []string
	kept    []int // columns of the history
}

func newStatements(t *projection.Schema) *statements {
	s := &statements{table: t}
	every := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		every[i] = i
		if !c.Live {
			s.kept = append(s.kept, i)
		}
	}
	from := ""
	if t.History {
		from = ", t.valid_from"
	}
	s.all = fmt.Sprintf("select %s%s from %s t where t.build = $1", selected(t, every), from, t.Name)
	s.load = fmt.Sprintf("select %s%s from unnest(%s) as k (%s) join %s t on t.build = $1 and %s",
		selected(t, every), from, keyArrays(t, 2), names(t, t.Keys), t.Name, matched(t))
	s.insert = insert(t)
	s.write = upsert(t)
	s.discard = []string{discardFrom(t.Name)}
	if t.History {
		s.allPast = fmt.Sprintf("select %s, t.valid_from, t.valid_to from %s_history t where t.build = $1", selected(t, s.kept), t.Name)
		s.past = fmt.Sprintf("insert into %[1]s_history select u.* from unnest($1::%[1]s_history[]) u", t.Name)
		s.discard = append(s.discard, discardFrom(t.Name+"_history"))
	}
	return s
}

func discardFrom(table string) string {
	return fmt.Sprintf("delete from %[1]s where ctid = any(array(select ctid from %[1]s where build = $1 limit $2))", table)
}

func insert(t *projection.Schema) string {
	return fmt.Sprintf("insert into %[1]s as t select u.* from unnest($1::%[1]s[]) u", t.Name)
}

func upsert(t *projection.Schema) string {
	var sets []string
	for _, c := range t.Columns {
		switch {
		case c.Key:
		case t.Counter:
			sets = append(sets, fmt.Sprintf("%[1]s = t.%[1]s + excluded.%[1]s", quoted(c)))
		default:
			sets = append(sets, fmt.Sprintf("%[1]s = excluded.%[1]s", quoted(c)))
		}
	}
	if t.History {
		sets = append(sets, "valid_from = excluded.valid_from")
	}
	conflict := "nothing"
	if len(sets) > 0 {
		conflict = "update set " + strings.Join(sets, ", ")
	}
	return fmt.Sprintf("%s on conflict (build, %s) do %s", insert(t), names(t, t.Keys), conflict)
}

func quoted(c projection.Column) string { return `"` + c.Name + `"` }

func names(t *projection.Schema, columns []int) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = quoted(t.Columns[c])
	}
	return strings.Join(out, ", ")
}

// selected casts every column to the type that scan expects.
func selected(t *projection.Schema, columns []int) string {
	out := make([]string, len(columns))
	for i, n := range columns {
		c := t.Columns[n]
		out[i] = "t." + quoted(c)
		switch {
		case c.Kind == projection.Int:
			out[i] += "::bigint"
		case c.Kind == projection.JSON, c.Date:
			out[i] += "::text"
		}
	}
	return strings.Join(out, ", ")
}

// keyArrays lists the parameters of unnest, one array per key column.
func keyArrays(t *projection.Schema, first int) string {
	out := make([]string, len(t.Keys))
	for i, k := range t.Keys {
		kind := "bigint[]"
		if c := t.Columns[k]; c.Date {
			kind = "text[]::date[]"
		} else if c.Kind == projection.Text {
			kind = "text[]"
		}
		out[i] = fmt.Sprintf("$%d::%s", first+i, kind)
	}
	return strings.Join(out, ", ")
}

func matched(t *projection.Schema) string {
	out := make([]string, len(t.Keys))
	for i, k := range t.Keys {
		out[i] = fmt.Sprintf("t.%[1]s = k.%[1]s", quoted(t.Columns[k]))
	}
	return strings.Join(out, " and ")
}

// keys are the key columns of examples, as parameters.
func (s *statements) keys(examples []any) []any {
	out := make([]any, len(s.table.Keys))
	for i, k := range s.table.Keys {
		if s.table.Columns[k].Kind == projection.Text {
			out[i] = column(s.table, k, examples, func(c projection.Cell) string { return c.Text })
		} else {
			out[i] = column(s.table, k, examples, func(c projection.Cell) int64 { return c.Int })
		}
	}
	return out
}

func column[V any](t *projection.Schema, n int, rows []any, value func(projection.Cell) V) []V {
	out := make([]V, len(rows))
	for i, r := range rows {
		out[i] = value(t.Cells(r).At(n))
	}
	return out
}

// scan reads rows that were selected with selected.
func (s *statements) scan(rows pgx.Rows, past bool, each func(any, domain.Position, domain.Position) error) error {
	defer rows.Close()
	t := s.table
	columns := s.kept
	if !past {
		columns = make([]int, len(t.Columns))
		for i := range columns {
			columns[i] = i
		}
	}
	into := make([]any, 0, len(columns)+2)
	for _, c := range columns { // each may be NULL, for zero
		switch t.Columns[c].Kind {
		case projection.Int:
			into = append(into, new(*int64))
		case projection.Float:
			into = append(into, new(*float64))
		case projection.Bool:
			into = append(into, new(*bool))
		case projection.Time:
			into = append(into, new(*time.Time))
		default:
			into = append(into, new(*string))
		}
	}
	var from, to domain.Position
	if t.History {
		into = append(into, &from)
	}
	if past {
		into = append(into, &to)
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		row := t.New()
		for i, c := range columns {
			if err := t.Set(row, c, value(into[i])); err != nil {
				return err
			}
		}
		if err := each(row, from, to); err != nil {
			return err
		}
	}
	return rows.Err()
}

func value(p any) any {
	switch p := p.(type) {
	case **int64:
		return known(*p)
	case **float64:
		return known(*p)
	case **bool:
		return known(*p)
	case **time.Time:
		return known(*p)
	default:
		return known(*p.(**string))
	}
}

func known[V any](p *V) any {
	if p == nil {
		return nil
	}
	return *p
}

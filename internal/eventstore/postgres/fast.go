package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hishamos/hishamos/internal/eventstore/batch"
	"github.com/hishamos/hishamos/internal/failpoint"
)

// fast carries out a batch by one statement, decided against what this process
// remembers. That the head is still where it was proves that the memory is true;
// what it does not remember is left to the primary keys. It reports false when
// the batch needs the slow path, and then nothing was written.
func (a *appender) fast(items []*item) (answered bool, err error) {
	b := batch.New(a.head, a.opts.Clock.Now(), a.versions)
	out, known := decide(b, items)
	if !known || b.Empty() || b.Unproven {
		return false, nil // an empty batch proves nothing about the head
	}
	form, params, formats, err := a.statement.bind(b)
	if err != nil {
		return true, refusal{err}
	}
	failpoint.Hit("append.fast")
	a.sending(b)
	result := a.conn.PgConn().ExecPrepared(context.Background(), form.name(), params, formats, nil).Read()
	switch {
	case isCode(result.Err, uniqueViolation), noPartition(result.Err):
		a.alone = false
		return false, nil
	case result.Err != nil:
		err := a.failed(result.Err, true)
		if errors.As(err, new(broken)) {
			doubt(items, out)
		}
		return true, err
	case len(result.Rows) == 0: // somebody else appended
		a.alone = false
		a.versions.forget()
		return false, nil
	}
	a.fastBatches.Add(1)
	a.commit(b, items, out)
	return true, nil
}

// noPartition tells a row without a partition from a constraint, which has a name
// and the same code.
func noPartition(err error) bool {
	var pe *pgconn.PgError
	return isCode(err, checkViolation) && errors.As(err, &pe) && pe.ConstraintName == ""
}

func isCode(err error, code string) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == code && pe.Severity == "ERROR"
}

package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
)

// Addresses are what the operator set: the database, by the login that owns the
// schema or by one that is a member of hishamos_writer, and optionally a login
// that is a member of hishamos_reader.
type Addresses struct{ Database, Reader string }

// Pools are the two that work, and the address that the writer came by.
type Pools struct {
	Writer  Writer
	Reader  Reader
	Address string
}

// Close closes both.
func (p Pools) Close() {
	p.Reader.Close()
	p.Writer.Close()
}

// The ways in which the logins do not fit.
var (
	errNoReader = &domain.Error{
		Kind: domain.Invalid, Code: "database.no_reader", Field: "HISHAMOS_READER_URL",
		Message: "DATABASE_URL does not own the schema, so a login for queries cannot be made",
		Fix:     "set it to a login that is a member of " + readerGroup + "; deploy/roles.sql makes one",
	}
	errNoLogins = &domain.Error{
		Kind: domain.Forbidden, Code: "database.no_logins", Field: "DATABASE_URL",
		Message: "this login owns the schema but may not make the logins to work with",
		Fix:     "run deploy/roles.sql as one that may; then set DATABASE_URL and HISHAMOS_READER_URL to the two logins, and use the owner for `hishamos migrate up` only",
	}
	errNotLimited = &domain.Error{
		Kind: domain.Invalid, Code: "database.not_limited",
		Message: "this login can do more than it should",
		Fix:     "give a login that is a member of the one role alone; deploy/roles.sql makes one",
	}
)

// Enter brings the schema up to date, if the login owns it, and opens the pools
// for work. The owner's connection is closed again before it returns.
func Enter(ctx context.Context, a Addresses, o Options) (_ Pools, err error) {
	p := Pools{Address: a.Database}
	first, err := Open(ctx, a.Database, o)
	if err != nil {
		return p, err
	}
	defer first.Close()
	mine, err := rightsOf(ctx, first)
	if err != nil {
		return p, err
	}
	writer := entry{address: a.Database, setting: "DATABASE_URL", fits: func(r rights) bool { return r.Writes && !r.Reads }}
	reader := entry{address: a.Reader, setting: "HISHAMOS_READER_URL", fits: func(r rights) bool { return r.Reads && !r.Writes }}
	if mine.owner() {
		owner := Owner{first}
		if err := Migrate(ctx, owner); err != nil {
			return p, err
		}
		if err := writer.derive(owner, writerGroup, mine.Database); err != nil {
			return p, err
		}
		if reader.address == "" {
			if err := reader.derive(owner, readerGroup, mine.Database); err != nil {
				return p, err
			}
		}
	} else if err := checkSchema(ctx, first); err != nil {
		return p, err
	}
	if reader.address == "" {
		return p, errNoReader
	}
	pool, err := writer.open(ctx, o)
	if err != nil {
		return p, err
	}
	p.Writer, p.Address = Writer{pool}, writer.address
	o.Settings = readerSettings()
	if pool, err = reader.open(ctx, o); err != nil {
		p.Writer.Close()
		return p, err
	}
	if p.Reader, err = NewReader(ctx, pool, p.Writer); err != nil {
		pool.Close()
		p.Writer.Close()
	}
	return p, err
}

// entry is a login to work by, which can do no more than it should.
type entry struct {
	address string
	setting string // that the login is set by
	fits    func(rights) bool
	make    func(context.Context) error // makes the login; nil: it is an operator's
}

// derive makes the entry one by a login of ours.
func (e *entry) derive(o Owner, group string, database uint32) (err error) {
	l := loginOf(o.Config().ConnConfig, group, database)
	e.make = func(ctx context.Context) error { return l.make(ctx, o) }
	e.address, err = l.address(o.Config().ConnString())
	return err
}

// open opens a pool, makes the login if it is ours and does not let us in, and
// makes sure that it can do no more than it should: a role that row security does
// not hold for would protect nothing.
func (e *entry) open(ctx context.Context, o Options) (*pgxpool.Pool, error) {
	pool, err := Open(ctx, e.address, o)
	if err != nil && e.make != nil {
		if err := e.make(ctx); isState(err, noPrivilege) {
			return nil, fmt.Errorf("%w: %w", errNoLogins, err)
		} else if err != nil {
			return nil, err
		}
		pool, err = Open(ctx, e.address, o)
	}
	if err != nil {
		return nil, err
	}
	r, err := rightsOf(ctx, pool)
	switch {
	case err != nil:
	case r.Super || r.Owns || r.Makes:
		err = errNotLimited.At(e.setting)
	case !e.fits(r):
		err = errNotLimited.With("this login is not a member of the role it should have, or of both").At(e.setting)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Reach makes sure that the server answers.
func Reach(ctx context.Context, address string, o Options) error {
	pool, err := Open(ctx, address, o)
	if err == nil {
		pool.Close()
	}
	return err
}

// EnterAsOwner opens a pool for changing the schema and brings it up to date.
func EnterAsOwner(ctx context.Context, address string, o Options) (Owner, error) {
	pool, err := Open(ctx, address, o)
	if err != nil {
		return Owner{}, err
	}
	if err := Migrate(ctx, Owner{pool}); err != nil {
		pool.Close()
		return Owner{}, err
	}
	return Owner{pool}, nil
}

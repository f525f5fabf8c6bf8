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
	reader := a.Reader
	if mine.owner() {
		if p.Address, reader, err = prepare(ctx, Owner{first}, a, mine); err != nil {
			return p, err
		}
	} else if err := checkSchema(ctx, first); err != nil {
		return p, err
	}
	if reader == "" {
		return p, errNoReader
	}
	writer, err := limited(ctx, p.Address, o, "DATABASE_URL", func(r rights) bool { return r.Writes && !r.Reads })
	if err != nil {
		return p, err
	}
	p.Writer = Writer{writer}
	o.Settings = readerSettings()
	pool, err := limited(ctx, reader, o, "HISHAMOS_READER_URL", func(r rights) bool { return r.Reads && !r.Writes })
	if err == nil {
		p.Reader, err = NewReader(ctx, pool, p.Writer)
	}
	if err != nil {
		writer.Close()
	}
	return p, err
}

// Reach makes sure that the server answers.
func Reach(ctx context.Context, address string) error {
	pool, err := Open(ctx, address, Options{})
	if err == nil {
		pool.Close()
	}
	return err
}

// prepare migrates, and makes the logins that are not there yet.
func prepare(ctx context.Context, o Owner, a Addresses, mine rights) (writer, reader string, err error) {
	if err := Migrate(ctx, o); err != nil {
		return "", "", err
	}
	addresses := [2]string{"", a.Reader}
	for i, group := range []string{writerGroup, readerGroup} {
		if addresses[i] != "" {
			continue
		}
		l := loginOf(o.Config().ConnConfig, group, mine.Database)
		if addresses[i], err = l.address(a.Database); err != nil {
			return "", "", err
		}
		if pool, err := Open(ctx, addresses[i], Options{}); err == nil { // it is there
			pool.Close()
			continue
		}
		if err := l.make(ctx, o); isState(err, noPrivilege) {
			return "", "", fmt.Errorf("%w: %w", errNoLogins, err)
		} else if err != nil {
			return "", "", err
		}
	}
	return addresses[0], addresses[1], nil
}

// limited opens a pool and makes sure that its login can do no more than it
// should: a role that row security does not hold for would protect nothing.
func limited(ctx context.Context, address string, o Options, setting string, fits func(rights) bool) (*pgxpool.Pool, error) {
	pool, err := Open(ctx, address, o)
	if err != nil {
		return nil, err
	}
	r, err := rightsOf(ctx, pool)
	switch {
	case err != nil:
	case r.Super || r.Owns || r.Makes:
		err = errNotLimited.At(setting)
	case !fits(r):
		err = errNotLimited.With("this login is not a member of the role it should have, or of both").At(setting)
	}
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
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

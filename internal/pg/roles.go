package pg

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hishamos/hishamos/domain"
)

// The two roles. They cannot log in; logins are their members.
const (
	writerGroup = "hishamos_writer"
	readerGroup = "hishamos_reader"
)

// rolesLock lets one process of a database make roles at a time.
const rolesLock = `select pg_advisory_xact_lock(hashtext('hishamos roles'))`

// The SQL states that mean something here.
const (
	duplicateObject = "42710"
	uniqueViolation = "23505"
	noPrivilege     = "42501"
)

// ErrNoRoles says that the two roles are missing and this login may not make
// them.
var ErrNoRoles = &domain.Error{
	Kind: domain.Forbidden, Code: "database.no_roles", Field: "DATABASE_URL",
	Message: "the roles " + writerGroup + " and " + readerGroup + " are missing, and this login may not make roles",
	Fix:     "run deploy/roles.sql as one that may",
}

// makeGroups makes the two roles where they are missing. The owner becomes a
// member of the writer, because row security is forced on owners too.
func makeGroups(ctx context.Context, o Owner) error {
	const missing = `select r from unnest($1::text[]) r where not exists (select from pg_roles where rolname = r)`
	rows, err := o.Query(ctx, missing, []string{writerGroup, readerGroup})
	if err != nil {
		return fmt.Errorf("look for roles: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for roles: %w", err)
	}
	for _, name := range names {
		if _, err := o.Exec(ctx, `create role `+name+` nologin`); err != nil && !isState(err, duplicateObject, uniqueViolation) {
			return noRoles(err)
		}
	}
	var member bool
	if err := o.QueryRow(ctx, `select pg_has_role(current_user, $1, 'usage')`, writerGroup).Scan(&member); err != nil {
		return fmt.Errorf("look for roles: %w", err)
	}
	if member {
		return nil
	}
	if _, err := o.Exec(ctx, `grant `+writerGroup+` to current_user`); err != nil {
		return noRoles(err)
	}
	return nil
}

func noRoles(err error) error {
	if isState(err, noPrivilege) {
		return fmt.Errorf("%w: %w", ErrNoRoles, err)
	}
	return fmt.Errorf("make roles: %w", err)
}

func isState(err error, states ...string) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	for _, s := range states {
		if e.Code == s {
			return true
		}
	}
	return false
}

// login is a login of ours: a member of one of the roles, for one database.
type login struct{ group, name, password string }

// loginOf derives the password from the owner's, so that all processes that know
// the owner come to the same one and none has to be kept. Without one of the
// owner (trust, certificates) the login has none either.
func loginOf(owner *pgx.ConnConfig, group string, database uint32) login {
	l := login{group: group, name: fmt.Sprintf("%s_%d", group, database)}
	if owner.Password != "" {
		mac := hmac.New(sha256.New, []byte(owner.Password))
		mac.Write([]byte("hishamos login " + l.name))
		l.password = hex.EncodeToString(mac.Sum(nil))
	}
	return l
}

// address is the owner's with another login.
func (l login) address(owner string) (string, error) {
	u, err := url.Parse(owner)
	if err != nil || u.Scheme == "" {
		return "", errors.New("the address of the database is not a URL") // it may hold a password: it is not repeated
	}
	q := u.Query()
	q.Del("user")
	q.Del("password")
	u.RawQuery = q.Encode()
	u.User = url.User(l.name)
	if l.password != "" {
		u.User = url.UserPassword(l.name, l.password)
	}
	return u.String(), nil
}

// make makes the login, or gives it its password again.
func (l login) make(ctx context.Context, o Owner) error {
	secret := "null"
	if l.password != "" {
		s, err := scramSecret(l.password)
		if err != nil {
			return err
		}
		secret = "'" + s + "'"
	}
	err := InTx(ctx, o, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, rolesLock); err != nil {
			return err
		}
		var there bool
		if err := tx.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1)`, l.name).Scan(&there); err != nil {
			return err
		}
		verb := "create"
		if there {
			verb = "alter"
		}
		if _, err := tx.Exec(ctx, verb+` role `+l.name+` login nosuperuser nocreatedb nocreaterole noreplication nobypassrls password `+secret); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `grant `+l.group+` to `+l.name)
		return err
	})
	if err != nil {
		return fmt.Errorf("make login %s: %w", l.name, err)
	}
	return nil
}

// scramSecret is what Postgres stores of a password: sent like this, the password
// appears in no statement and no log.
func scramSecret(password string) (string, error) {
	const iterations = 4096 // the server's default; the password is random
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("salt a password: %w", err)
	}
	keyed := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	stored, encode := sha256.Sum256(keyed("Client Key")), base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(keyed("Server Key"))), nil
}

// rights are what a login can do beyond its role.
type rights struct {
	Super, Makes, Owns, Writes, Reads, There bool
	Database                                 uint32
}

func rightsOf(ctx context.Context, pool *pgxpool.Pool) (r rights, err error) {
	const sql = `select u.rolsuper or u.rolbypassrls, u.rolsuper or u.rolcreaterole,
		coalesce((select pg_has_role(current_user, relowner, 'usage') from pg_class where oid = to_regclass('log')), false),
		exists (select from pg_roles g where g.rolname = '` + writerGroup + `' and pg_has_role(current_user, g.oid, 'usage')),
		exists (select from pg_roles g where g.rolname = '` + readerGroup + `' and pg_has_role(current_user, g.oid, 'usage')),
		to_regclass('log') is not null, (select oid from pg_database where datname = current_database())
		from pg_roles u where u.rolname = current_user`
	if err := pool.QueryRow(ctx, sql).Scan(&r.Super, &r.Makes, &r.Owns, &r.Writes, &r.Reads, &r.There, &r.Database); err != nil {
		return r, fmt.Errorf("look at the rights of the login: %w", err)
	}
	return r, nil
}

// owner says that the login may make or change the schema.
func (r rights) owner() bool { return !r.There || r.Owns || r.Super }

package embedded

import (
	"cmp"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// settings are written anew at every start. Durability is never traded for
// speed, in benches neither.
const settings = `# Written at every start. Your own settings go into custom.conf beside this file,
# or into ALTER SYSTEM.
listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = %s
unix_socket_permissions = 0700
max_connections = %d
password_encryption = 'scram-sha-256'

fsync = on
synchronous_commit = on
full_page_writes = on

shared_buffers = '64MB'
jit = off # statements are short; compiling them costs more than it saves

log_destination = 'stderr'
logging_collector = off
log_min_messages = 'warning'
log_checkpoints = off
log_timezone = 'UTC'
timezone = 'UTC'
lc_messages = 'C'

include_if_exists = 'custom.conf'
`

const accessRules = `# Written at every start. Everybody needs the password, also on this machine.
# type  database     user  address       method
local   all          all                 scram-sha-256
host    all          all   127.0.0.1/32  scram-sha-256
local   replication  all                 scram-sha-256
host    replication  all   127.0.0.1/32  scram-sha-256
`

// configure writes the server's settings beside its data, where the user the
// server runs as cannot change them.
func (p *Postgres) configure() error {
	folder := p.socketFolder()
	if folder != "" {
		if _, err := makeFolder(folder, 0o700, 0o700); err != nil {
			return folderError(folder, err)
		}
		if err := p.as.chown(folder); err != nil {
			return folderError(folder, err)
		}
	}
	if err := writeWhole(p.path("pg_hba.conf"), accessRules, 0o644); err != nil {
		return err
	}
	return writeWhole(p.path("postgresql.conf"), fmt.Sprintf(settings, p.port, quote(folder), cmp.Or(p.opts.Connections, 60)), 0o644)
}

// socketFolder is where the server's Unix socket goes; empty if the address
// would be longer than the system's limit.
func (p *Postgres) socketFolder() string {
	limit := 107 // Linux: 108 bytes with the zero at the end
	if runtime.GOOS != "linux" {
		limit = 103
	}
	folder := filepath.Join(p.dir, "run")
	if len(folder+"/.s.PGSQL.65535") > limit || strings.Contains(folder, ",") { // a comma would be two folders
		return ""
	}
	return folder
}

// quote writes a value as postgresql.conf wants it.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}

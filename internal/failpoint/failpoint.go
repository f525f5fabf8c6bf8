// Package failpoint marks the places where a process may die, stop or fail
// without anything being lost or doubled. A build with the tag failpoints can be
// told to do so there; in any other build a mark is an empty function and leaves
// nothing in the program.
//
// It must not know what happens at a mark. It imports the standard library only.
//
// Start reading at Names, which lists every mark; on.go is what the tag adds.
package failpoint

// The environment of a build with failpoints. The names are not those of settings:
// the program refuses settings it does not know.
const (
	// EnvArm says what happens where: `name=action@n`, separated by semicolons.
	// Actions are kill (SIGKILL to this process), stop (SIGSTOP), error, and
	// sleep:<duration>. n is the hit at which it happens, each one if left out.
	EnvArm = "FAILPOINTS"
	// EnvLog is a file that gets a line for the first hit of every mark of a
	// process, and one before each action: `<pid> hit|<action> <name>`.
	EnvLog = "FAILPOINTS_LOG"
)

// Place is a mark in the code.
type Place struct {
	Name string
	File string // from the root of the module
	Role string // which role's process comes by; empty: a command or a start
}

// Names lists every mark. A test compares it with the code.
func Names() []Place {
	return []Place{
		{"api.before_dispatch", "api/command.go", "api"},
		{"api.before_answer", "api/command.go", "api"},
		{"dispatch.before_submit", "internal/dispatch/dispatch.go", "api"},
		{"dispatch.after_commit", "internal/dispatch/dispatch.go", "api"},
		{"append.before", "internal/eventstore/postgres/appender.go", "api"},
		{"append.fast", "internal/eventstore/postgres/fast.go", "api"},
		{"append.locked", "internal/eventstore/postgres/slow.go", "api"},
		{"append.before_commit", "internal/eventstore/postgres/slow.go", "api"},
		{"append.before_answer", "internal/eventstore/postgres/appender.go", "api"},
		{"import.before_commit", "internal/eventstore/postgres/import.go", ""},
		{"import.after_commit", "internal/eventstore/postgres/import.go", ""},
		{"relay.before_resume", "internal/relay/resume.go", "relay"},
		{"relay.after_resume", "internal/relay/resume.go", "relay"},
		{"relay.before_publish", "internal/relay/relay.go", "relay"},
		{"relay.after_send", "internal/relay/relay.go", "relay"},
		{"relay.after_ack", "internal/relay/relay.go", "relay"},
		{"relay.before_mark", "cmd/hishamos/marks.go", "relay"},
		{"relay.after_mark", "cmd/hishamos/marks.go", "relay"},
		{"reaction.after_take", "internal/reaction/subscriber.go", "handlers"},
		{"reaction.before_recover", "internal/reaction/subscriber.go", "handlers"},
		{"reaction.after_recover", "internal/reaction/subscriber.go", "handlers"},
		{"reaction.before_handle", "internal/reaction/runner.go", "handlers"},
		{"reaction.after_handle", "internal/reaction/runner.go", "handlers"},
		{"reaction.before_save", "internal/reaction/subscriber.go", "handlers"},
		{"reaction.after_save", "internal/reaction/subscriber.go", "handlers"},
		{"express.before_hand", "cmd/hishamos/node.go", "handlers"},
		{"timer.before_fire", "cmd/hishamos/parts.go", "handlers"},
		{"timer.after_fire", "cmd/hishamos/parts.go", "handlers"},
		{"office.after_claim", "internal/worker/server.go", "handlers"},
		{"office.before_results", "internal/worker/server.go", "handlers"},
		{"office.after_results", "internal/worker/server.go", "handlers"},
		{"office.before_lapse", "internal/worker/server.go", "handlers"},
		{"office.after_lapse", "internal/worker/server.go", "handlers"},
		{"worker.after_take", "internal/worker/worker.go", "workers"},
		{"worker.before_report", "internal/worker/worker.go", "workers"},
		{"worker.after_report", "internal/worker/worker.go", "workers"},
		{"provider.before_answer", "cmd/hishamos/provider_chaos.go", "workers"},
		{"projection.before_commit", "internal/projection/feed.go", "projections"},
		{"projection.after_commit", "internal/projection/feed.go", "projections"},
		{"rebuild.before_switch", "internal/projection/rebuild.go", ""},
		{"rebuild.after_switch", "internal/projection/rebuild.go", ""},
		{"bootstrap.after_issue", "cmd/hishamos/token.go", ""},
		{"embedded.after_start", "internal/embedded/postgres_start.go", ""},
	}
}

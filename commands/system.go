package commands

import "github.com/hishamos/hishamos/domain"

// Reaction is what may be asked of a deployed reaction.
//
//sumtype:decl
type Reaction interface {
	Command
	isReaction()
}

// DeployReaction records where a reaction begins, once; a repetition changes
// nothing.
type DeployReaction struct {
	Name string
	From domain.Position
}

// Log is what may be asked of the log itself.
//
//sumtype:decl
type Log interface {
	Command
	isLog()
}

// SetLogLevel allows event types up to a level to be written.
type SetLogLevel struct{ Level int }

func (DeployReaction) CommandName() string { return "reaction.deploy" }
func (SetLogLevel) CommandName() string    { return "log.set_level" }

// Target implements Command.
func (c DeployReaction) Target() domain.StreamID {
	return domain.NamedStreamID(domain.SystemTenant, "reaction", c.Name)
}

// Target implements Command.
func (SetLogLevel) Target() domain.StreamID {
	return domain.NamedStreamID(domain.SystemTenant, "log", "level")
}

func (DeployReaction) Needs() domain.Permission { return domain.LogManage }
func (SetLogLevel) Needs() domain.Permission    { return domain.LogManage }

// Validate implements Command.
func (c DeployReaction) Validate() error {
	if c.Name == "" {
		return domain.InvalidField("name", "is missing", "name the reaction")
	}
	return nil
}

// Validate implements Command.
func (c SetLogLevel) Validate() error {
	if c.Level < 1 {
		return domain.InvalidField("level", "must be at least 1", "see `hishamos log level`")
	}
	return nil
}

func (DeployReaction) isReaction() {}
func (SetLogLevel) isLog()         {}

package domain

// Permission is `noun:verb`.
type Permission string

// The permissions. Every route and every command names one.
const (
	AllPermissions Permission = "*:*"

	RunStart  Permission = "run:start"
	RunRead   Permission = "run:read"
	RunCancel Permission = "run:cancel"
	// RunWork is held by workers: report the results of steps.
	RunWork Permission = "run:work"

	// ContentRead shows content and names opened; without it they stay sealed.
	ContentRead Permission = "content:read"
	// ContentErase destroys the keys of a run or a person, for ever.
	ContentErase Permission = "content:erase"

	WorkflowRead  Permission = "workflow:read"
	WorkflowWrite Permission = "workflow:write"

	AgentRead Permission = "agent:read"

	TaskCreate Permission = "task:create"
	TaskRead   Permission = "task:read"

	// FileRead shows files and lets runs use them; their content needs
	// content:read besides.
	FileRead Permission = "file:read"
	// FileWrite uploads files, and ends uploads.
	FileWrite Permission = "file:write"

	AnalyticsRead Permission = "analytics:read"

	LogRead Permission = "log:read"
	// LogReadAll is held by operators: read the events of every tenant.
	LogReadAll Permission = "log:read_all"
	LogManage  Permission = "log:manage"

	TokenManage Permission = "token:manage"
)

// Permissions lists every permission in the order of the reference page.
var Permissions = []Permission{
	RunStart, RunRead, RunCancel, RunWork, ContentRead, ContentErase, WorkflowRead, WorkflowWrite, AgentRead,
	TaskCreate, TaskRead, FileRead, FileWrite, AnalyticsRead, LogRead, LogReadAll, LogManage, TokenManage,
}

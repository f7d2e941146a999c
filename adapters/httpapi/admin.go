package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func adminRoutes() []route {
	return []route{
		operation(route{
			id: "listUsers", method: get, path: "/admin/users", tag: tagAdmin, credential: admin, limit: perUser, cost: longRead, message: "Users",
			summary:     "List the users",
			description: "Lists users with the number of their sessions, page by page. `search` matches name and email.",
		}, (*api).users),
		operation(route{
			id: "createUser", method: post, path: "/admin/users", tag: tagAdmin, credential: admin, limit: perUser, status: http.StatusCreated, message: "User created",
			summary: "Create a user",
			description: "Creates a user and does not sign it in. Works also while registration is closed. The tier is BASIC and the role USER unless they are given. Fails if the " +
				"email has an account already, or if the password is too weak.",
			errors: []domain.Code{domain.CodeEmailRegistered, domain.CodeInvalidState},
		}, (*api).createUser),
		operation(route{
			id: "getUser", method: get, path: "/admin/users/{id}", tag: tagAdmin, credential: admin, limit: perUser, message: "User",
			summary:     "Get a user",
			description: "Returns a user with the number of its sessions.",
			errors:      []domain.Code{domain.CodeUserNotFound},
		}, (*api).user),
		operation(route{
			id: "updateUser", method: put, path: "/admin/users/{id}", tag: tagAdmin, credential: admin, limit: perUser, message: "User updated", optional: true,
			summary: "Change a user's name, tier, role or activity",
			description: "Changes the given fields; any other field is refused. A user that is deactivated has its sessions disconnected; if a lower tier allows " +
				"fewer sessions than are up, the youngest go down. The last administrator stays one (INVALID_STATE).",
			errors: []domain.Code{domain.CodeUserNotFound, domain.CodeInvalidState},
		}, (*api).updateUser),
		operation(route{
			id: "listAllSessions", method: get, path: "/admin/sessions", tag: tagAdmin, credential: admin, limit: perUser, cost: longRead, message: "Sessions",
			summary:     "List the sessions of all users",
			description: "Lists sessions, newest first, page by page, with the endpoint of their worker. `search` matches the name and the phone number.",
		}, (*api).allSessions),
		operation(route{
			id: "bulkSessions", method: post, path: "/admin/sessions/bulk", tag: tagAdmin, credential: admin, limit: perUser, cost: outbound, message: "Sessions",
			summary: "Restart, disconnect, migrate or delete many sessions",
			description: "Records the action for the listed sessions or for those of a filter, at most 1000, and carries it out in the background. The answer has one " +
				"result for each session; one that is refused does not stop the others. Any other field, also in the filter, is refused.",
			errors: []domain.Code{domain.CodeWorkerNotFound, domain.CodeInvalidState},
		}, (*api).bulkSessions),
		operation(route{
			id: "deleteAnySession", method: del, path: "/admin/sessions/{id}", tag: tagAdmin, credential: admin, limit: perUser, message: "Session deleted",
			summary:     "Delete a session of any user",
			description: "Deletes a session as its owner would.",
			errors:      sessionErrors,
		}, (*api).deleteAnySession),
		operation(route{
			id: "migrateSession", method: post, path: "/admin/sessions/{id}/migrate", tag: tagAdmin, credential: admin, limit: perUser, message: "Session migrated", optional: true,
			summary: "Move a session to another worker",
			description: "Moves a session to the named worker, or to the best one. The migration may have to wait for its turn: `GET /admin/migrations` follows it. Fails with " +
				"INVALID_STATE if the session is down, is migrating already or is on the target, and with NO_AVAILABLE_WORKERS if no worker has room.",
			errors: append([]domain.Code{domain.CodeWorkerNotFound}, sessionErrors...),
		}, (*api).migrate),
		operation(route{
			id: "listMigrations", method: get, path: "/admin/migrations", tag: tagAdmin, credential: admin, limit: perUser, message: "Migrations",
			summary:     "List migrations and failovers",
			description: "Lists the moves of sessions between workers, newest first, page by page.",
		}, (*api).migrations),
		operation(route{
			id: "cancelMigrations", method: post, path: "/admin/migrations/{id}/cancel", tag: tagAdmin, credential: admin, limit: perUser, message: "Migrations cancelled",
			summary: "Cancel a migration, or those of a batch",
			description: "Cancels a migration, or all of a batch, that have not begun. Fails with NOT_FOUND if there is no such migration or batch, and with INVALID_STATE " +
				"if the migration has begun or is over, or belongs to a drain, which activating the worker ends.",
			errors: []domain.Code{domain.CodeNotFound, domain.CodeInvalidState, domain.CodeSessionNotFound},
		}, (*api).cancelMigrations),
		operation(route{
			id: "rebalance", method: post, path: "/admin/rebalance", tag: tagAdmin, credential: admin, limit: perUser, cost: outbound, message: "Rebalance", optional: true,
			summary: "Even out the load of the workers",
			description: "Plans which sessions have to move for the workers to be about equally full, and moves them a few at a time. With `dryRun`, in the query or the body, it plans and moves nothing. " +
				"Any other parameter or field is refused, so that a misspelt dry run is not a run.",
			errors: []domain.Code{domain.CodeInvalidState},
		}, (*api).rebalance),
		analyticsRoute(),
	}
}

type listUsersInput struct {
	Search   string       `query:"search" doc:"Part of a name or email, at most 255 bytes" example:"ada"`
	Tier     string       `query:"tier" doc:"A tier, in any case" example:"PRO"`
	Role     string       `query:"role" doc:"USER or ADMINISTRATOR, in any case" example:"USER"`
	IsActive optionalBool `query:"isActive" example:"true"`
	Sort     string       `query:"sort" doc:"createdAt, name, email or lastLoginAt; createdAt if it is not given" example:"name"`
	Order    string       `query:"order" doc:"asc or desc; desc if it is not given" example:"asc"`
	PageInput
	filter ports.UserFilter
}

// Resolve reads the parameters.
func (in *listUsersInput) Resolve(huma.Context) []error {
	var p problems
	f := &in.filter
	f.Search = p.searchText("search", in.Search)
	parse(&p, "tier", in.Tier, &f.Tier, parseTier)
	parse(&p, "role", in.Role, &f.Role, oneOf(domain.RoleUser, domain.RoleAdministrator))
	if in.IsActive.isSet {
		f.Active = &in.IsActive.value
	}
	var order string
	parse(&p, "sort", in.Sort, &f.Sort, oneOf("createdAt", "name", "email", "lastLoginAt"))
	parse(&p, "order", in.Order, &order, oneOf("asc", "desc"))
	f.Asc = order == "asc"
	return p
}

type userListView struct {
	Users      []profileView `json:"users"`
	Pagination pagination    `json:"pagination"`
}

func (a *api) users(ctx context.Context, c *requestContext, in *listUsersInput) (userListView, error) {
	var list []*service.UserSummary
	var total int
	err := c.readLongIf(ctx, in.isLongRead(in.filter.Search), func(ctx context.Context) (err error) {
		list, total, err = a.Accounts.List(ctx, in.filter, in.page())
		return err
	})
	if err != nil {
		return userListView{}, err
	}
	views := make([]profileView, len(list))
	for i, u := range list {
		views[i], _ = viewProfile(u, nil)
	}
	return userListView{views, paginationOf(in.page(), total)}, nil
}

// parseTier accepts a word in any case; which tiers there are is configuration.
func parseTier(s string) (domain.Tier, error) {
	t := strings.ToUpper(strings.TrimSpace(s))
	if t == "" || t != clean(t, maxWord) {
		return "", domain.Errorf(domain.Invalid, domain.CodeValidation, "Tier must be a tier such as BASIC, PRO or MAX")
	}
	return domain.Tier(t), nil
}

// UserPath names a user in the path.
type UserPath struct {
	ID string `path:"id" doc:"Id of the user" example:"01JX3B5ZKQ7M"`
}

type userInput struct{ UserPath }

func (a *api) user(ctx context.Context, _ *requestContext, in *userInput) (profileView, error) {
	return viewProfile(a.Accounts.Get(ctx, clean(in.ID, maxID)))
}

type createUserBody struct {
	Name     string  `json:"name" minLength:"1" doc:"2 to 100 characters" example:"Ada Lovelace"`
	Email    string  `json:"email" minLength:"1" doc:"Trimmed and lower-cased" example:"ada@example.com"`
	Password string  `json:"password" minLength:"1" doc:"As for /auth/register" example:"correct horse 1"`
	Tier     *string `json:"tier,omitempty" doc:"BASIC, PRO or MAX, unless the server has other tiers" example:"PRO"`
	Role     *string `json:"role,omitempty" doc:"USER or ADMINISTRATOR, in any case" example:"USER"`
}

type createUserInput struct {
	Body createUserBody
	tier *domain.Tier
	role *domain.Role
}

// Resolve applies the rules of the domain.
func (in *createUserInput) Resolve(huma.Context) []error {
	var p problems
	b := &in.Body
	b.Name = p.text("name", b.Name, domain.CheckUserName)
	b.Email = p.text("email", b.Email, domain.NormalizeEmail)
	b.Password = p.text("password", b.Password, passwordOf(b.Name, b.Email))
	in.tier = optional(&p, "tier", b.Tier, parseTier)
	in.role = optional(&p, "role", b.Role, oneOf(domain.RoleUser, domain.RoleAdministrator))
	return p
}

func (a *api) createUser(ctx context.Context, _ *requestContext, in *createUserInput) (UserView, error) {
	u, err := a.Accounts.CreateUser(ctx, in.Body.Name, in.Body.Email, in.Body.Password, valueOf(in.tier), valueOf(in.role))
	if err != nil {
		return UserView{}, err
	}
	return viewUser(u), nil
}

type updateUserBody struct {
	_        struct{} `additionalProperties:"false"`
	Name     *string  `json:"name,omitempty" doc:"2 to 100 characters" example:"Ada Lovelace"`
	Tier     *string  `json:"tier,omitempty" doc:"BASIC, PRO or MAX, unless the server has other tiers" example:"PRO"`
	Role     *string  `json:"role,omitempty" doc:"USER or ADMINISTRATOR, in any case" example:"USER"`
	IsActive *bool    `json:"isActive,omitempty" example:"true"`
}

type updateUserInput struct {
	UserPath
	Body   updateUserBody
	change service.UserChange
}

// Resolve applies the rules of the domain.
func (in *updateUserInput) Resolve(huma.Context) []error {
	var p problems
	b := &in.Body
	in.change = service.UserChange{
		Name: optional(&p, "name", b.Name, domain.CheckUserName),
		Tier: optional(&p, "tier", b.Tier, parseTier),
		Role: optional(&p, "role", b.Role, oneOf(domain.RoleUser, domain.RoleAdministrator)), Active: b.IsActive,
	}
	return p
}

func (a *api) updateUser(ctx context.Context, _ *requestContext, in *updateUserInput) (profileView, error) {
	return viewProfile(a.Accounts.Update(ctx, clean(in.ID, maxID), in.change))
}

type listAllSessionsInput struct {
	Status   string `query:"status" doc:"A session's status, in any case" example:"CONNECTED"`
	WorkerID string `query:"workerId" doc:"Of this worker" example:"worker-1"`
	UserID   string `query:"userId" doc:"Of this user" example:"01JX3B5ZKQ7M"`
	Search   string `query:"search" doc:"Part of a name or phone number, at most 255 bytes" example:"desk"`
	PageInput
	filter ports.SessionFilter
}

// Resolve reads the parameters.
func (in *listAllSessionsInput) Resolve(huma.Context) []error {
	var p problems
	f := &in.filter
	parse(&p, "status", in.Status, &f.Status, domain.ParseStatus)
	f.WorkerID = normalizeWorker(in.WorkerID)
	f.UserID = p.searchText("userId", in.UserID)
	f.Search = p.searchText("search", in.Search)
	return p
}

func (a *api) allSessions(ctx context.Context, c *requestContext, in *listAllSessionsInput) (sessionListView, error) {
	var list []*service.SessionView
	var total int
	err := c.readLongIf(ctx, in.isLongRead(in.filter.Search), func(ctx context.Context) (err error) {
		list, total, err = a.Operations.ListSessions(ctx, in.filter, in.page())
		return err
	})
	if err != nil {
		return sessionListView{}, err
	}
	return viewSessions(list, in.page(), total, true), nil
}

func (a *api) deleteAnySession(ctx context.Context, c *requestContext, _ *sessionInput) (deletedSessionView, error) {
	id := c.sessionRef()
	return deletedSessionView{id, true}, a.Operations.DeleteSession(ctx, id)
}

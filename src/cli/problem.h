/* Refusals of the controller (RFC 9457), told to a person: what was wrong and where, and what to do next. */
#ifndef DM_CLI_PROBLEM_H
#define DM_CLI_PROBLEM_H

#include "base/str.h"

struct dm_cli;
struct dm_json;
struct dm_places;
struct dm_reply;

/* Where the request came from; all NULL when from the command line. */
struct dm_problem_source {
    const char *file;               /* "team.yaml" */
    const struct dm_places *places; /* of the body sent */
};

/* Reports the answer and returns the exit code for it. */
int dm_problem_report(const struct dm_cli *cli, const struct dm_reply *reply, const struct dm_problem_source *source);

/* The member `reason` of a refusal, into ret ("" when there is none). */
#define DM_PROBLEM_REASON_MAX 64
void dm_problem_reason(const struct dm_reply *reply, char ret[DM_PROBLEM_REASON_MAX]);

#endif

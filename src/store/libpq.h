/*
 * libpq.h: PostgreSQL's client library, loaded when the first PostgreSQL URL is seen.
 *
 * libpq brings along Kerberos, LDAP, SASL and a second TLS library: half of all that the loader
 * would have to do at the start, and 1.3 MiB, for nothing on SQLite. So the program is not linked
 * with it. Code calls libpq's functions by their names, as ever; here they are members of a table
 * (without the PQ) that libpq_load fills, and one that is missing from the list does not link.
 *
 * Private to store/postgres*.c.
 */
#ifndef WW_STORE_LIBPQ_H
#define WW_STORE_LIBPQ_H

#include <libpq-fe.h>

#include "base/err.h"

#define LIBPQ_NAME "libpq.so.5"

#define LIBPQ_FUNCTIONS(X)                                                                         \
    X(clear)                                                                                       \
    X(cmdTuples)                                                                                   \
    X(connectPoll)                                                                                 \
    X(connectStartParams)                                                                          \
    X(connectdbParams)                                                                             \
    X(conninfoFree)                                                                                \
    X(conninfoParse)                                                                               \
    X(consumeInput)                                                                                \
    X(enterPipelineMode)                                                                           \
    X(errorMessage)                                                                                \
    X(exec)                                                                                        \
    X(execParams)                                                                                  \
    X(finish)                                                                                      \
    X(flush)                                                                                       \
    X(getResult)                                                                                   \
    X(getisnull)                                                                                   \
    X(getlength)                                                                                   \
    X(getvalue)                                                                                    \
    X(isBusy)                                                                                      \
    X(ntuples)                                                                                     \
    X(parameterStatus)                                                                             \
    X(pipelineSync)                                                                                \
    X(resultErrorField)                                                                            \
    X(resultStatus)                                                                                \
    X(sendPrepare)                                                                                 \
    X(sendQueryPrepared)                                                                           \
    X(setNoticeProcessor)                                                                          \
    X(setnonblocking)                                                                              \
    X(socket)                                                                                      \
    X(status)

#define LIBPQ_MEMBER(name) __typeof__(PQ##name) *(name);
struct libpq {
    LIBPQ_FUNCTIONS(LIBPQ_MEMBER)
};
#undef LIBPQ_MEMBER

extern struct libpq libpq; /* constant once libpq_load has returned OK */

/* Loads the library, once for the process; any thread. ERR_UNAVAILABLE if it cannot be loaded (the
 * message is store_last_error's). Nothing of libpq may be called before. */
MUST_USE enum err libpq_load(void);

/* What the URL says, else libpq's environment; NULL if neither does. */
const char *libpq_option(const PQconninfoOption *options, const char *name, const char *variable);

#define PQclear libpq.clear
#define PQcmdTuples libpq.cmdTuples
#define PQconnectPoll libpq.connectPoll
#define PQconnectStartParams libpq.connectStartParams
#define PQconnectdbParams libpq.connectdbParams
#define PQconninfoFree libpq.conninfoFree
#define PQconninfoParse libpq.conninfoParse
#define PQconsumeInput libpq.consumeInput
#define PQenterPipelineMode libpq.enterPipelineMode
#define PQerrorMessage libpq.errorMessage
#define PQexec libpq.exec
#define PQexecParams libpq.execParams
#define PQfinish libpq.finish
#define PQflush libpq.flush
#define PQgetResult libpq.getResult
#define PQgetisnull libpq.getisnull
#define PQgetlength libpq.getlength
#define PQgetvalue libpq.getvalue
#define PQisBusy libpq.isBusy
#define PQntuples libpq.ntuples
#define PQparameterStatus libpq.parameterStatus
#define PQpipelineSync libpq.pipelineSync
#define PQresultErrorField libpq.resultErrorField
#define PQresultStatus libpq.resultStatus
#define PQsendPrepare libpq.sendPrepare
#define PQsendQueryPrepared libpq.sendQueryPrepared
#define PQsetNoticeProcessor libpq.setNoticeProcessor
#define PQsetnonblocking libpq.setnonblocking
#define PQsocket libpq.socket
#define PQstatus libpq.status

#endif

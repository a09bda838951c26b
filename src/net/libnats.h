/*
 * libnats.h: the NATS client library, loaded when it is needed: who sends no events does not pay
 * for it. Code calls its functions by their names; here they are members of a table that
 * libnats_load fills, and one that is missing from the list does not link.
 *
 * Private to net/nats.c.
 */
#ifndef WW_NET_LIBNATS_H
#define WW_NET_LIBNATS_H

#include <nats/nats.h>

#include "base/err.h"

#define LIBNATS_NAME "libnats.so.3.4"

#define LIBNATS_FUNCTIONS(X)                                                                       \
    X(natsConnection_Connect)                                                                      \
    X(natsConnection_Destroy)                                                                      \
    X(natsConnection_PublishMsg)                                                                   \
    X(natsConnection_Request)                                                                      \
    X(natsConnection_Status)                                                                       \
    X(natsConnection_SubscribeSync)                                                                \
    X(natsInbox_Create)                                                                            \
    X(natsInbox_Destroy)                                                                           \
    X(natsMsgHeader_Set)                                                                           \
    X(natsMsg_Create)                                                                              \
    X(natsMsg_Destroy)                                                                             \
    X(natsMsg_GetData)                                                                             \
    X(natsMsg_GetDataLength)                                                                       \
    X(natsMsg_GetSubject)                                                                          \
    X(natsMsg_IsNoResponders)                                                                      \
    X(natsOptions_Create)                                                                          \
    X(natsOptions_Destroy)                                                                         \
    X(natsOptions_SetAllowReconnect)                                                               \
    X(natsOptions_SetExpectedHostname)                                                             \
    X(natsOptions_SetIgnoreDiscoveredServers)                                                      \
    X(natsOptions_SetMaxPingsOut)                                                                  \
    X(natsOptions_SetName)                                                                         \
    X(natsOptions_SetNoEcho)                                                                       \
    X(natsOptions_SetPingInterval)                                                                 \
    X(natsOptions_SetSecure)                                                                       \
    X(natsOptions_SetTimeout)                                                                      \
    X(natsOptions_SetURL)                                                                          \
    X(natsOptions_SetWriteDeadline)                                                                \
    X(natsStatus_GetText)                                                                          \
    X(natsSubscription_Destroy)                                                                    \
    X(natsSubscription_NextMsg)                                                                    \
    X(nats_CloseAndWait)                                                                           \
    X(nats_Open)

#define LIBNATS_MEMBER(name) __typeof__(name) *(name##_);
struct libnats {
    LIBNATS_FUNCTIONS(LIBNATS_MEMBER)
};
#undef LIBNATS_MEMBER

extern struct libnats libnats; /* constant once libnats_load has returned OK */

/* Loads the library, once for the process; any thread. ERR_UNAVAILABLE if it cannot be loaded;
 * *why is then a text that lasts. Nothing of the library may be called before. */
MUST_USE enum err libnats_load(const char **why);

#define natsConnection_Connect libnats.natsConnection_Connect_
#define natsConnection_Destroy libnats.natsConnection_Destroy_
#define natsConnection_PublishMsg libnats.natsConnection_PublishMsg_
#define natsConnection_Request libnats.natsConnection_Request_
#define natsConnection_Status libnats.natsConnection_Status_
#define natsConnection_SubscribeSync libnats.natsConnection_SubscribeSync_
#define natsInbox_Create libnats.natsInbox_Create_
#define natsInbox_Destroy libnats.natsInbox_Destroy_
#define natsMsgHeader_Set libnats.natsMsgHeader_Set_
#define natsMsg_Create libnats.natsMsg_Create_
#define natsMsg_Destroy libnats.natsMsg_Destroy_
#define natsMsg_GetData libnats.natsMsg_GetData_
#define natsMsg_GetDataLength libnats.natsMsg_GetDataLength_
#define natsMsg_GetSubject libnats.natsMsg_GetSubject_
#define natsMsg_IsNoResponders libnats.natsMsg_IsNoResponders_
#define natsOptions_Create libnats.natsOptions_Create_
#define natsOptions_Destroy libnats.natsOptions_Destroy_
#define natsOptions_SetAllowReconnect libnats.natsOptions_SetAllowReconnect_
#define natsOptions_SetExpectedHostname libnats.natsOptions_SetExpectedHostname_
#define natsOptions_SetIgnoreDiscoveredServers libnats.natsOptions_SetIgnoreDiscoveredServers_
#define natsOptions_SetMaxPingsOut libnats.natsOptions_SetMaxPingsOut_
#define natsOptions_SetName libnats.natsOptions_SetName_
#define natsOptions_SetNoEcho libnats.natsOptions_SetNoEcho_
#define natsOptions_SetPingInterval libnats.natsOptions_SetPingInterval_
#define natsOptions_SetSecure libnats.natsOptions_SetSecure_
#define natsOptions_SetTimeout libnats.natsOptions_SetTimeout_
#define natsOptions_SetURL libnats.natsOptions_SetURL_
#define natsOptions_SetWriteDeadline libnats.natsOptions_SetWriteDeadline_
#define natsStatus_GetText libnats.natsStatus_GetText_
#define natsSubscription_Destroy libnats.natsSubscription_Destroy_
#define natsSubscription_NextMsg libnats.natsSubscription_NextMsg_
#define nats_CloseAndWait libnats.nats_CloseAndWait_
#define nats_Open libnats.nats_Open_

#endif

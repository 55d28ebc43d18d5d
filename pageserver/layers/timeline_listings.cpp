// The listings of TimelineImpl: all of a kind that there is, from the oldest ancestor and layer on.
#include "pageserver/layers/database_blob.h"
#include "pageserver/layers/timeline_impl.h"

namespace zenith {

template <typename Visit>
Status TimelineImpl::VisitLayer(const View& view, size_t number, Visit&& visit) const {
    if (number > 0) {
        return visit(*view->older[number - 1].layer);
    }
    ReadLock lock(*this);
    return visit(*view->open);
}

Result<TimelineImpl::Cuts> TimelineImpl::CutsOf(const View& view, size_t number, Lsn at) const {
    Cuts cuts;
    ZENITH_RETURN_IF_ERROR(VisitLayer(view, number, [&](const Layer& layer) {
        return layer.VisitCuts(at, [&](const DatabaseKey& db, const DatabaseCut& cut) {
            cuts.emplace_back(db, cut);
        });
    }));
    return cuts;
}

Status TimelineImpl::CollectRelations(const View& view, const DatabaseKey* only, Lsn at,
                                      RelationMap* out) const {
    // From the newest layer down to the oldest one that counts: what is older than the cut of the
    // only database asked for does not.
    std::vector<Cuts> cuts_of;
    bool cut_off = false;
    for (size_t i = 0; i <= view->older.size() && !cut_off; i++) {
        ZENITH_ASSIGN_OR_RETURN(Cuts cuts, CutsOf(view, i, at));
        if (only != nullptr) {
            std::erase_if(cuts, [&](const auto& cut) { return cut.first != *only; });
            cut_off = !cuts.empty();
        }
        cuts_of.push_back(std::move(cuts));
    }
    if (cut_off) {
        // Nothing older counts.
    } else if (parent_impl_ != nullptr) {
        Lsn parent_at = at;
        ZENITH_ASSIGN_OR_RETURN(View parent, LookInParent(&parent_at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectRelations(parent, only, parent_at, out));
    } else if (snapshot_ != nullptr) {
        for (const RelationEntry& entry : snapshot_->relations()) {
            const RelFileNode& node = entry.rel.node;
            if (only == nullptr || *only == DatabaseKey{node.spc, node.db}) {
                (*out)[{node.spc, node.db}][{node.rel, entry.rel.fork}] = entry.blocks;
            }
        }
    }
    for (size_t i = cuts_of.size(); i-- > 0;) {
        for (const auto& [db, cut] : cuts_of[i]) {
            out->erase(db);
            if (cut.source) {
                RelationMap copied;
                ZENITH_RETURN_IF_ERROR(CollectRelations(view, &*cut.source, cut.lsn - 1, &copied));
                (*out)[db] = std::move(copied[*cut.source]);
            }
        }
        ZENITH_RETURN_IF_ERROR(VisitLayer(view, i, [&](const Layer& layer) {
            return layer.VisitRelations(
                only, at, [&](const RelForkKey& rel, std::optional<BlockNumber> blocks) {
                    DatabaseRelations& relations = (*out)[{rel.node.spc, rel.node.db}];
                    if (blocks) {
                        relations[{rel.node.rel, rel.fork}] = *blocks;
                    } else {
                        relations.erase({rel.node.rel, rel.fork});
                    }
                });
        }));
    }
    return Status::Ok();
}

Status TimelineImpl::CollectDatabases(const View& view, Lsn at,
                                      std::set<DatabaseKey>* out) const {
    if (parent_impl_ != nullptr) {
        Lsn parent_at = at;
        ZENITH_ASSIGN_OR_RETURN(View parent, LookInParent(&parent_at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectDatabases(parent, parent_at, out));
    } else if (snapshot_ != nullptr) {
        out->insert(snapshot_->databases().begin(), snapshot_->databases().end());
    }
    for (size_t i = view->older.size() + 1; i-- > 0;) {
        ZENITH_RETURN_IF_ERROR(VisitLayer(view, i, [&](const Layer& layer) {
            return layer.VisitDatabases(at, [&](const DatabaseKey& db, bool exists) {
                if (exists) {
                    out->insert(db);
                } else {
                    out->erase(db);
                }
            });
        }));
    }
    return Status::Ok();
}

Status TimelineImpl::CutBlobs(const View& view, const std::string& prefix, const Cuts& cuts,
                              BlobMap* out) const {
    for (const auto& [db, cut] : cuts) {
        const DatabaseBlob relmap{db, ""};
        if (relmap.Key().starts_with(prefix)) {
            out->erase(relmap.Key());
            if (cut.source) {
                ZENITH_ASSIGN_OR_RETURN(auto blob,
                                        FindBlob(relmap.In(*cut.source).Key(), cut.lsn - 1, view));
                if (blob) {
                    (*out)[relmap.Key()] = VersionedBlob{cut.lsn, std::move(blob->value)};
                }
            }
        }
        const std::string files = DatabaseBlob::FilePrefix(db);
        if (files.starts_with(prefix) || prefix.starts_with(files)) {
            std::erase_if(*out, [&](const auto& entry) { return entry.first.starts_with(files); });
            if (cut.source) {
                BlobMap copied;
                const std::string source_files = DatabaseBlob::FilePrefix(*cut.source);
                ZENITH_RETURN_IF_ERROR(CollectBlobs(view, source_files, cut.lsn - 1, &copied));
                for (auto& [key, blob] : copied) {
                    std::string copied_key = files + key.substr(source_files.size());
                    if (copied_key.starts_with(prefix)) {
                        (*out)[copied_key] = VersionedBlob{cut.lsn, std::move(blob.value)};
                    }
                }
            }
        }
    }
    return Status::Ok();
}

Status TimelineImpl::CollectBlobs(const View& view, const std::string& prefix, Lsn at,
                                  BlobMap* out) const {
    if (parent_impl_ != nullptr) {
        Lsn parent_at = at;
        ZENITH_ASSIGN_OR_RETURN(View parent, LookInParent(&parent_at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectBlobs(parent, prefix, parent_at, out));
    } else if (snapshot_ != nullptr) {
        const auto& blobs = snapshot_->blobs();
        for (auto it = blobs.lower_bound(prefix); it != blobs.end(); ++it) {
            if (!it->first.starts_with(prefix)) {
                break;
            }
            (*out)[it->first] = VersionedBlob{start_lsn_, it->second};
        }
    }
    for (size_t i = view->older.size() + 1; i-- > 0;) {
        ZENITH_ASSIGN_OR_RETURN(const Cuts cuts, CutsOf(view, i, at));
        ZENITH_RETURN_IF_ERROR(CutBlobs(view, prefix, cuts, out));
        ZENITH_RETURN_IF_ERROR(VisitLayer(view, i, [&](const Layer& layer) {
            return layer.VisitBlobs(
                prefix, at, [&](const std::string& key, Lsn lsn, const std::string* value) {
                    if (value != nullptr) {
                        (*out)[key] = VersionedBlob{lsn, *value};
                    } else {
                        out->erase(key);
                    }
                });
        }));
    }
    return Status::Ok();
}

Status TimelineImpl::CollectSlruPages(const View& view, SlruKind kind, Lsn at,
                                      std::set<BlockNumber>* out) const {
    if (parent_impl_ != nullptr) {
        Lsn parent_at = at;
        ZENITH_ASSIGN_OR_RETURN(View parent, LookInParent(&parent_at));
        ZENITH_RETURN_IF_ERROR(parent_impl_->CollectSlruPages(parent, kind, parent_at, out));
    } else if (snapshot_ != nullptr) {
        std::vector<BlockNumber> pages = snapshot_->SlruPages(kind);
        out->insert(pages.begin(), pages.end());
    }
    for (size_t i = view->older.size() + 1; i-- > 0;) {
        ZENITH_RETURN_IF_ERROR(VisitLayer(view, i, [&](const Layer& layer) {
            return layer.VisitSlruPages(kind, at, [&](BlockNumber block, bool exists) {
                if (exists) {
                    out->insert(block);
                } else {
                    out->erase(block);
                }
            });
        }));
    }
    return Status::Ok();
}

// ---- the public reads ---------------------------------------------------------------------------

Result<std::vector<RelationEntry>> TimelineImpl::ListRelations(Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    RelationMap databases;
    const Lsn committed = Committed(at);
    ZENITH_ASSIGN_OR_RETURN(View view, Look(at));
    ZENITH_RETURN_IF_ERROR(CollectRelations(view, nullptr, committed, &databases));
    std::vector<RelationEntry> entries;
    for (const auto& [db, relations] : databases) {
        for (const auto& [rel_fork, blocks] : relations) {
            entries.push_back(
                RelationEntry{{{db.spc, db.db, rel_fork.first}, rel_fork.second}, blocks});
        }
    }
    return entries;
}

Result<std::vector<BlockNumber>> TimelineImpl::ListSlruPages(SlruKind kind, Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    std::set<BlockNumber> pages;
    const Lsn committed = Committed(at);
    ZENITH_ASSIGN_OR_RETURN(View view, Look(at));
    ZENITH_RETURN_IF_ERROR(CollectSlruPages(view, kind, committed, &pages));
    return std::vector<BlockNumber>(pages.begin(), pages.end());
}

Result<std::vector<DatabaseKey>> TimelineImpl::ListDatabases(Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    std::set<DatabaseKey> databases;
    const Lsn committed = Committed(at);
    ZENITH_ASSIGN_OR_RETURN(View view, Look(at));
    ZENITH_RETURN_IF_ERROR(CollectDatabases(view, committed, &databases));
    return std::vector<DatabaseKey>(databases.begin(), databases.end());
}

Result<std::map<std::string, std::string>> TimelineImpl::ListBlobs(const std::string& prefix,
                                                                   Lsn at) {
    ZENITH_RETURN_IF_ERROR(CheckUsable(at));
    BlobMap blobs;
    const Lsn committed = Committed(at);
    ZENITH_ASSIGN_OR_RETURN(View view, Look(at));
    ZENITH_RETURN_IF_ERROR(CollectBlobs(view, prefix, committed, &blobs));
    std::map<std::string, std::string> values;
    for (auto& [key, blob] : blobs) {
        values.emplace_hint(values.end(), key, std::move(blob.value));
    }
    return values;
}

}  // namespace zenith

from tests import synthetic as s
from pipelines import ingestion
from pipelines.training import load_rows, plan_training
def test_x(yard, use_case):
    p = s.days(use_case, 8)
    for d in p: s.publish(yard, use_case, d)
    plan = plan_training(yard, use_case, p[-1]); r = load_rows(yard, use_case, plan)
    print(len(r.fit), len(r.holdout), r.all.label.mean(), r.all.dtypes, r.all.tail(3).T)
    s.arrive(yard, p[0]); print(ingestion.ingest(yard, use_case, p[0]))
    from sklearn.metrics import roc_auc_score
    print(roc_auc_score(r.all.label, r.all.distance))

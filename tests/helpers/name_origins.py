"""Which public names do what a paper describes, and which are ours or in every textbook: each needs a decision."""

__all__ = ["OWN", "PUBLISHED"]

#: Their docstrings name the source.
PUBLISHED = frozenset(
    """
    rbm.greedy rbm.place_sensors rbm.pod_greedy rbm.pbdw rbm.project rbm.project_time rbm.minimize rbm.sobol_indices
    rbm.stability.SCM rbm.stability.Anchored rbm.stability.MinTheta rbm.stability.NaturalNorm rbm.estimators.E1
    rbm.estimators.E2 rbm.estimators.E3 rbm.estimators.E4 rbm.estimators.E_onb rbm.estimators.Sketched
    rbm.solvers.AMG rbm.solvers.Cholmod rbm.solvers.Pardiso rbm.solvers.SuperLU lowrank.ResidualQuantizer
    lowrank.allocate_bits lowrank.cross_approximation lowrank.cur lowrank.gaussian_losses lowrank.gram_schmidt
    lowrank.interpolative_decomposition lowrank.pod lowrank.randomized_range lowrank.randomized_svd
    lowrank.truncated_svd eim.deim eim.empirical_interpolation eim.qdeim eim.separate problems.acoustic_scattering
    problems.compress_far_field problems.convection_diffusion problems.cooling_fin problems.mapped_blocks
    problems.reaction_diffusion_1d problems.thermal_fin problems.thermal_fin_geometry ml.ActionTokenizer
    ml.AlbertConfig ml.FactorizedEmbedding ml.LowRankUpdate ml.adapt ml.albert_parameter_count ml.bias_score
    ml.derivative_code ml.factorize_embedding ml.fake_quantize ml.halo_check ml.mezo ml.self_debias ml.spsa
    """.split()  # noqa: SIM905
)

#: Results and errors, doors and files, checks, and methods of this project; theory that they rest on is in docs/.
OWN = frozenset(
    """
    rbm.PBDW rbm.Calibration rbm.CaseSolution rbm.Constrained rbm.Estimate rbm.EstimatorUnusable rbm.Fields
    rbm.FileFormatError rbm.FrequencyResponse rbm.FullOrderModel rbm.Gradient rbm.GreedyResult rbm.GreedyStep
    rbm.InterpolatedFamily rbm.Interrupted rbm.Linear rbm.LoadCases rbm.Memory rbm.Minimum rbm.ModelError
    rbm.PODGreedyResult rbm.PODGreedyStep rbm.ParameterError rbm.ParameterSpace rbm.PartitionedModel
    rbm.PartitionedResult rbm.Poles rbm.Posterior rbm.ReducedModel rbm.ReducedTimeModel rbm.Reduction
    rbm.SobolIndices rbm.Solution rbm.StabilityError rbm.StateEstimate rbm.TimeModel rbm.TimeSolution rbm.calibrate
    rbm.constrain rbm.csr rbm.dask_solve rbm.differentiable rbm.expected_memory rbm.explore rbm.fields
    rbm.frequency_response rbm.from_pymor rbm.load rbm.poles rbm.posterior rbm.read_matrices rbm.register
    rbm.show.page_html rbm.show.write_page rbm.stability.BoundAnchored rbm.stability.BoundMinTheta
    rbm.stability.BoundNaturalNorm rbm.stability.BoundPencil rbm.stability.BoundSCM rbm.stability.CoefficientBound
    rbm.stability.Pencil rbm.stability.StabilityBound rbm.stability.Unbound rbm.stability.bind rbm.stability.inf_sup
    rbm.estimators.Estimator rbm.solvers.Auto rbm.solvers.PETSc rbm.solvers.rigid_body_modes rbm.uses.Chain
    rbm.uses.away_from_poles rbm.uses.chain_numbers rbm.uses.jax_function rbm.uses.refined_greedy
    rbm.uses.torch_function rbm.uses.training_between lowrank.CUR lowrank.POD lowrank.BitAllocation
    lowrank.CrossApproximation lowrank.ErrorEstimate lowrank.GramSchmidt lowrank.InterpolativeDecomposition
    lowrank.LowRankMatrix lowrank.Quantized lowrank.ResidualCodes lowrank.integer_product lowrank.quantize
    eim.EmpiricalInterpolation eim.Separation eim.lagrange problems.CompressedOperator problems.MappedBlocks
    problems.MappedTerm problems.ScatteringModel problems.SurfaceMesh problems.convection_diffusion_basis
    problems.duct_pressure problems.elastic_bracket problems.elastic_bracket_basis problems.elastic_bracket_mesh
    problems.exact_solution problems.frequency_sweep problems.frequency_sweep_grid problems.kernel_block
    problems.mapped_grid problems.merged_terms problems.moving_heat problems.moving_heat_nodes problems.read_surface
    problems.resonant_wavenumbers problems.surface problems.thermal_block problems.thermal_block_3d
    problems.thermal_block_3d_mesh problems.thermal_block_basis problems.thermal_block_mesh
    problems.thermal_fin_basis problems.thermal_fin_domain problems.thermal_fin_mesh ml.ActionCodes ml.Adapted
    ml.BiasReport ml.Calibration ml.DerivativeCode ml.EmbeddingReport ml.Gradients ml.HaloCheck ml.Int8Report
    ml.LanguageDetector ml.LeanTuning ml.MezoLog ml.MezoResult ml.MezoWarning ml.NLIScorer ml.OnnxPairScorer
    ml.PairCache ml.ParameterCount ml.QuantizationReport ml.RankAllocation ml.RoundedEmbedding ml.Scheme ml.Severity
    ml.activation_bytes ml.albert_state_dict ml.allocate_rank ml.allocate_weight_bits ml.bias_report
    ml.callable_model ml.freeze_quantized ml.http_model ml.inject_knowledge ml.language_model_loss ml.lean
    ml.load_adapter ml.load_embedding ml.load_mezo_log ml.load_peft ml.load_quantized ml.load_training ml.own_items
    ml.quantize_module ml.read_bbq ml.replay ml.round_rows ml.run_int8 ml.save_adapter ml.save_embedding
    ml.save_mezo_log ml.save_peft ml.save_quantized ml.save_training ml.sensitivity ml.severity
    ml.sliced_cross_entropy ml.teacher ml.to_torch ml.transformers_model
    """.split()  # noqa: SIM905
)
